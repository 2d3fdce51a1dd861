//! What is given to a run: words, stdin, files, images; and lines typed by a person.

use std::io::{BufRead, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ambidex_core::message::{Image, ImageSource, Message, Part, Role};
use base64::Engine as _;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::args::RunArgs;
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::Failure;

/// Bytes of text, from stdin or a file, that a task may bring along.
const LONGEST_TEXT: u64 = 8 * 1024 * 1024;
/// Bytes of one image.
const LARGEST_IMAGE: u64 = 20 * 1024 * 1024;
/// What to do with bytes that are no text.
const NOT_TEXT: &str = "turn it into UTF-8 (`iconv -f LATIN1 -t UTF-8`), or give an image with --image PATH";
/// When a person is told that stdin is waited for.
const STDIN_IS_SLOW: Duration = Duration::from_secs(2);

/// The message that a command line describes.
pub async fn task(
    args: &RunArgs,
    console: &mut Console,
    stop: &CancellationToken,
) -> Result<Arc<Message>, Failure> {
    let mut text = args.task.clone().unwrap_or_default();
    let piped = if console.stdin_is_terminal() { String::new() } else { stdin(console, stop).await? };
    if !piped.trim().is_empty() {
        join(&mut text, piped.trim_end());
    }
    for path in &args.file {
        let content = text_file(path)?;
        join(&mut text, &format!("--- {} ---\n{}", path.display(), content.trim_end()));
    }
    if text.trim().is_empty() && args.image.is_empty() {
        return Err(Failure::usage("there is no task")
            .help("write one, such as: ambidex run \"list files in .\"; or pipe it into stdin"));
    }
    let mut parts = Vec::new();
    if !text.trim().is_empty() {
        parts.push(Part::text(text));
    }
    for path in &args.image {
        parts.push(Part::Image(image(path)?));
    }
    Ok(Message::new(Role::User, parts))
}

fn join(text: &mut String, more: &str) {
    if !text.is_empty() {
        text.push_str("\n\n");
    }
    text.push_str(more);
}

async fn stdin(console: &mut Console, stop: &CancellationToken) -> Result<String, Failure> {
    let (sender, mut receiver) = oneshot::channel();
    // A read of stdin cannot be given up, so it has a thread that nobody waits for.
    let reading = move || {
        let mut bytes = Vec::new();
        let read = std::io::stdin().lock().take(LONGEST_TEXT + 1).read_to_end(&mut bytes);
        let _ = sender.send(read.map(|_| bytes));
    };
    std::thread::Builder::new().name("stdin".into()).spawn(reading).map_err(Failure::internal)?;
    let mut slow = Some(tokio::time::Instant::now() + STDIN_IS_SLOW);
    let read = loop {
        let told = slow.unwrap_or_else(tokio::time::Instant::now);
        tokio::select! {
            // Ctrl-C ends the program before the pipe, too, and with it stdin: that is no empty task.
            biased;
            () = stop.cancelled() => return Err(Failure::new(Exit::Cancelled, "cancelled before the run began")),
            read = &mut receiver => break read,
            () = tokio::time::sleep_until(told), if slow.is_some() => {
                slow = None;
                console.say("reading stdin until it ends; if nothing comes from there, start with </dev/null");
            }
        }
    };
    let bytes = match read {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) => return Err(Failure::new(Exit::Failed, format!("cannot read stdin: {error}"))),
        Err(_) => Vec::new(),
    };
    if bytes.len() as u64 > LONGEST_TEXT {
        let text = format!("stdin holds more than {} MiB", LONGEST_TEXT >> 20);
        return Err(Failure::usage(text).help("give the agent a tool that reads it piece by piece"));
    }
    String::from_utf8(bytes).map_err(|_| Failure::usage("stdin is not UTF-8 text").help(NOT_TEXT))
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>, Failure> {
    let refused = |why: String| Failure::usage(format!("cannot read {}: {why}", path.display()));
    let failed = |error: std::io::Error| {
        refused(error.to_string()).help("check the path; it must be a file that you may read")
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > most {
        return Err(refused(format!("it is larger than {} MiB", most >> 20))
            .help("give the agent a tool that reads it piece by piece"));
    }
    Ok(bytes)
}

fn text_file(path: &Path) -> Result<String, Failure> {
    String::from_utf8(read(path, LONGEST_TEXT)?)
        .map_err(|_| Failure::usage(format!("{} is not UTF-8 text", path.display())).help(NOT_TEXT))
}

fn image(path: &Path) -> Result<Image, Failure> {
    let bytes = read(path, LARGEST_IMAGE)?;
    let media_type = match bytes.as_slice() {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [b'G', b'I', b'F', b'8', ..] => "image/gif",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        _ => {
            let text = format!("{} is no image that models take", path.display());
            return Err(Failure::usage(text).help("give PNG, JPEG, GIF or WebP; text goes with --file"));
        }
    };
    let data = base64::engine::general_purpose::STANDARD.encode(bytes);
    Ok(Image { media_type: media_type.to_owned(), source: ImageSource::Base64(data.into()) })
}

/// Lines from stdin, each read when it is asked for, so that what follows is left for others.
pub struct Lines {
    ask: std::sync::mpsc::Sender<()>,
    lines: mpsc::UnboundedReceiver<Option<String>>,
    asked: bool,
}

impl Lines {
    pub fn of_stdin() -> Result<Self, Failure> {
        let (ask, asked) = std::sync::mpsc::channel();
        let (sender, lines) = mpsc::unbounded_channel();
        let reading = move || {
            while asked.recv().is_ok() {
                let mut bytes = Vec::new();
                let read = std::io::stdin().lock().read_until(b'\n', &mut bytes);
                let line = match read {
                    Ok(read) if read > 0 => Some(String::from_utf8_lossy(&bytes).into_owned()),
                    _ => None,
                };
                if sender.send(line).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("lines".into()).spawn(reading).map_err(Failure::internal)?;
        Ok(Self { ask, lines, asked: false })
    }

    /// The next line without its end; nothing when stdin has ended. May be dropped and called again:
    /// no line is lost.
    pub async fn next(&mut self) -> Option<String> {
        if !self.asked {
            self.asked = self.ask.send(()).is_ok();
        }
        let line = self.lines.recv().await.flatten();
        self.asked = false;
        line.map(|line| line.trim_end_matches(['\n', '\r']).to_owned())
    }
}
