//! A Postgres server of our own, on a free port. A guardian stops it and removes its files when this process ends,
//! however it ends.

use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub struct Cluster {
    folder: PathBuf,
    port: u16,
    /// Its end of a pipe: closed by the system when this process is gone.
    _guardian: Child,
}

impl Cluster {
    /// Makes and starts one; its commits wait for the disk, as a server's do.
    ///
    /// # Errors
    /// What failed, in a sentence.
    pub fn start() -> Result<Self, String> {
        let text = |error: io::Error| format!("no Postgres server: {error}");
        let made = as_user("mktemp")?.args(["-d", "/tmp/ambidex-postgres-XXXXXX"]).output().map_err(text)?;
        let folder = PathBuf::from(String::from_utf8_lossy(&made.stdout).trim());
        if !folder.is_dir() {
            return Err(format!("no folder for a server: {}", String::from_utf8_lossy(&made.stderr)));
        }
        let script = "trap '' INT; cat > /dev/null; \"$1\" -D \"$2/data\" -m immediate stop; rm -rf \"$2\"";
        let guardian = as_user("sh")?
            .args(["-c", script, "guardian"])
            .arg(program("pg_ctl")?)
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(text)?;
        let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = address.map_err(text)?.port();
        let cluster = Self { folder, port, _guardian: guardian };
        let data = cluster.folder.join("data");
        let made = as_user(program("initdb")?)?
            .args(["--auth=trust", "--username=crash", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(&data)
            .output()
            .map_err(text)?;
        if !made.status.success() {
            return Err(format!("initdb: {}", String::from_utf8_lossy(&made.stderr)));
        }
        cluster.serve()?;
        Ok(cluster)
    }

    /// Starts the server that was stopped.
    ///
    /// # Errors
    /// What failed, in a sentence.
    pub fn serve(&self) -> Result<(), String> {
        let port = self.port;
        let settings = format!(
            "-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=300"
        );
        let log = self.folder.join("log");
        let log_name = log.to_string_lossy().into_owned();
        if !self.pg_ctl(&["-w", "-l", &log_name, "-o", &settings, "start"])? {
            let log = std::fs::read_to_string(log).unwrap_or_default();
            return Err(format!("the server did not start: {log}"));
        }
        Ok(())
    }

    /// As if its machine had lost its power.
    ///
    /// # Errors
    /// As above.
    pub fn stop(&self) -> Result<(), String> {
        if self.pg_ctl(&["-w", "-m", "immediate", "stop"])? {
            Ok(())
        } else {
            Err("the server did not stop".into())
        }
    }

    fn pg_ctl(&self, arguments: &[&str]) -> Result<bool, String> {
        // The server keeps what it is given open.
        let mut command = as_user(program("pg_ctl")?)?;
        command.arg("-D").arg(self.folder.join("data")).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(command.status().map_err(|error| format!("no Postgres server: {error}"))?.success())
    }

    pub fn url(&self) -> String {
        format!("postgres://crash@127.0.0.1:{}/postgres", self.port)
    }
}

/// A program of the newest Postgres of this machine.
fn program(name: &str) -> Result<PathBuf, String> {
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            Some((path.file_name()?.to_str()?.parse().ok()?, path.join("bin").join(name)))
        })
        .filter(|(_, program)| program.exists())
        .collect();
    versions.sort();
    let on_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.exists())
    };
    let found = versions.pop().map(|(_, program)| program).or_else(on_path);
    found.ok_or_else(|| format!("there is no Postgres server ({name}) here; run tests/install.sh"))
}

/// A server does not run as root.
fn as_user(program: impl AsRef<Path>) -> Result<Command, String> {
    let mut command = if rustix::process::geteuid().is_root() {
        let users = std::fs::read_to_string("/etc/passwd").map_err(|error| error.to_string())?;
        let user = if users.contains("\npostgres:") { "postgres" } else { "nobody" };
        let line = users.lines().find(|line| line.split(':').next() == Some(user));
        let group = line.and_then(|line| line.split(':').nth(3)).ok_or("there is no user for a server")?;
        let mut command = Command::new("setpriv");
        command.args(["--reuid", user, "--regid", group, "--clear-groups", "--"]).arg(program.as_ref());
        command
    } else {
        Command::new(program.as_ref())
    };
    command.current_dir("/");
    Ok(command)
}
