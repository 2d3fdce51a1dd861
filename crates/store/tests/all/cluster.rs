//! A Postgres server of the tests' own, on a free port. A guardian stops it and removes its files when the test
//! process ends, however it ends.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

pub struct Cluster {
    folder: PathBuf,
    port: u16,
    /// Its end of a pipe: closed by the system when this process is gone.
    _guardian: Child,
}

/// The one that most tests share.
pub fn shared() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(Cluster::new)
}

/// A schema that nobody else uses.
pub fn fresh_schema() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    format!("s{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

impl Cluster {
    pub fn new() -> Self {
        let made = as_user("mktemp").args(["-d", "/tmp/ambidex-postgres-XXXXXX"]).output().unwrap();
        let folder = PathBuf::from(String::from_utf8(made.stdout).unwrap().trim());
        assert!(folder.is_dir(), "no folder for the server: {}", String::from_utf8_lossy(&made.stderr));
        let script = "trap '' INT; cat > /dev/null; \"$1\" -D \"$2/data\" -m immediate stop; rm -rf \"$2\"";
        let guardian = as_user("sh")
            .args(["-c", script, "guardian"])
            .arg(program("pg_ctl"))
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let cluster = Self { folder, port, _guardian: guardian };
        let data = cluster.folder.join("data");
        let made = as_user(program("initdb"))
            .args(["--auth=trust", "--username=tests", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(data)
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        cluster.start();
        cluster
    }

    pub fn start(&self) {
        let settings = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=200",
            self.port
        );
        let log = self.folder.join("log");
        let status = self.pg_ctl(&["-w", "-l", log.to_str().unwrap(), "-o", &settings, "start"]);
        assert!(status, "the server did not start: {}", std::fs::read_to_string(log).unwrap_or_default());
    }

    /// From now on it has this certificate.
    pub fn encrypt(&self, certificate: &str, key: &str) {
        self.stop();
        let data = self.folder.join("data");
        for (name, text) in
            [("server.crt", certificate), ("server.key", key), ("postgresql.auto.conf", "ssl = on\n")]
        {
            let mut command = as_user("sh");
            command
                .args(["-c", "umask 077; cat > \"$1\"", "write"])
                .arg(data.join(name))
                .stdin(Stdio::piped());
            let mut child = command.spawn().unwrap();
            child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
            assert!(child.wait().unwrap().success());
        }
        self.start();
    }

    /// As if its machine had lost its power.
    pub fn stop(&self) {
        assert!(self.pg_ctl(&["-w", "-m", "immediate", "stop"]), "the server did not stop");
    }

    fn pg_ctl(&self, arguments: &[&str]) -> bool {
        // Its server keeps what it is given open.
        let mut command = as_user(program("pg_ctl"));
        command.arg("-D").arg(self.folder.join("data")).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("postgres://tests@127.0.0.1:{}/postgres", self.port)
    }
}

/// A program of the newest Postgres of this machine.
fn program(name: &str) -> PathBuf {
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
    found.unwrap_or_else(|| panic!("there is no Postgres server ({name}) here; run tests/install.sh"))
}

/// A server does not run as root.
fn as_user(program: impl AsRef<Path>) -> Command {
    let mut command = if rustix::process::geteuid().is_root() {
        let users = std::fs::read_to_string("/etc/passwd").unwrap();
        let user = if users.contains("\npostgres:") { "postgres" } else { "nobody" };
        let mut command = Command::new("setpriv");
        command.args(["--reuid", user, "--regid", user_group(&users, user), "--clear-groups", "--"]);
        command.arg(program.as_ref());
        command
    } else {
        Command::new(program.as_ref())
    };
    command.current_dir("/");
    command
}

fn user_group<'a>(users: &'a str, user: &str) -> &'a str {
    let line = users.lines().find(|line| line.split(':').next() == Some(user)).unwrap();
    line.split(':').nth(3).unwrap()
}
