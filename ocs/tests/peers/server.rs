//! The real binary, started for one test on free ports of loopback and stopped in the end.

use std::fs::File;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_ocs");

/// How long a server may take to listen, or to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running server.
pub(crate) struct Ocs {
    child: Child,
    folder: tempfile::TempDir,
    /// Where it speaks Gy.
    pub(crate) gy: SocketAddr,
    /// Where it speaks gRPC.
    pub(crate) grpc: SocketAddr,
}

impl Ocs {
    /// `ocs dev` with demo data.
    pub(crate) fn dev() -> Self {
        Self::start(|folder, [gy, grpc, metrics]| {
            let mut command = Command::new(BINARY);
            command.args(["dev", "--quiet", "--subscribers", "50", "--data"]).arg(folder.join("data"));
            command.args(["--gy", &gy.to_string(), "--grpc", &grpc.to_string(), "--metrics", &metrics.to_string()]);
            command
        })
    }

    /// `ocs serve` over imported data. `gy` are the members of the configuration's section besides `listen`.
    pub(crate) fn serve(gy_members: &str, tariff: &str, accounts: &str, subscribers: &str) -> Self {
        Self::start(|folder, [gy, grpc, metrics]| {
            let data = folder.join("data");
            let file = |name: &str, text: &str| {
                let path = folder.join(name);
                std::fs::write(&path, text).unwrap();
                path
            };
            let config = format!(
                "[data]\nfolder = '{}'\n[gy]\nlisten = ['{gy}']\n{gy_members}\n[grpc]\nlisten = '{grpc}'\n\
                 [metrics]\nlisten = '{metrics}'\n[logs]\nfilter = 'warn'\n",
                data.display()
            );
            if !data.exists() {
                let import = Command::new(BINARY)
                    .arg("import")
                    .args(["--data".as_ref(), data.as_os_str()])
                    .args(["--catalogue".as_ref(), file("tariff.yaml", tariff).as_os_str()])
                    .args(["--accounts".as_ref(), file("accounts.jsonl", accounts).as_os_str()])
                    .args(["--subscribers".as_ref(), file("subscribers.jsonl", subscribers).as_os_str()])
                    .output()
                    .unwrap();
                assert!(import.status.success(), "{}", said(&import));
            }
            let mut command = Command::new(BINARY);
            command.arg("serve").arg("--config").arg(file("ocs.toml", &config));
            command
        })
    }

    fn start(command: impl Fn(&Path, [SocketAddr; 3]) -> Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Somebody may take a free port before the server does: then other ports.
        for _ in 0..3 {
            let ports = free_ports();
            let log = File::create(folder.path().join("log")).unwrap();
            let mut command = command(folder.path(), ports);
            let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
            let [gy, grpc, _] = ports;
            if listens(&mut child, &[gy, grpc]) {
                return Self { child, folder, gy, grpc };
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("the server did not start: {}", std::fs::read_to_string(folder.path().join("log")).unwrap());
    }

    /// A place for files of the test.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What `ocs account show` says of an account.
    pub(crate) fn account(&self, who: &str) -> Value {
        let server = format!("http://{}", self.grpc);
        let shown = Command::new(BINARY).args(["account", "show", who, "-o", "json", "--server", &server]).output();
        let shown = shown.unwrap();
        assert!(shown.status.success(), "{}", said(&shown));
        serde_json::from_slice(&shown.stdout).unwrap()
    }

    /// The money of an account, micro-units.
    pub(crate) fn micros(&self, who: &str, member: &str) -> i64 {
        micros(self.account(who)[member].as_str().unwrap())
    }

    /// What `ocs health` says of it. It listens before it serves, so the first answers are waited for.
    pub(crate) fn health(&self) -> Output {
        let until = Instant::now() + PATIENCE;
        loop {
            let asked = Self::health_of(&format!("http://{}", self.grpc));
            if asked.status.success() || Instant::now() >= until {
                return asked;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What `ocs health` says of a server.
    pub(crate) fn health_of(server: &str) -> Output {
        Command::new(BINARY).args(["health", "--server", server]).output().unwrap()
    }

    /// Pays in.
    pub(crate) fn top_up(&self, who: &str, amount: &str) {
        let server = format!("http://{}", self.grpc);
        let arguments = ["account", "topup", who, "--amount", amount, "--key", "peers", "--server", &server];
        let paid = Command::new(BINARY).args(arguments).output().unwrap();
        assert!(paid.status.success(), "{}", said(&paid));
    }

    /// The command line that pays 5.00 in for the account that is appended to it.
    pub(crate) fn pays_in(&self) -> String {
        format!("'{BINARY}' account topup --amount 5.00 --key pay --server http://{}", self.grpc)
    }

    /// Stops it in good order and lets the audit recompute everything that it left behind.
    pub(crate) fn stop_and_audit(mut self) {
        terminate(&mut self.child);
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
        assert!(!log.contains("panicked"), "{log}");
        let data = self.folder.path().join("data");
        let audit = Command::new(BINARY).args(["audit".as_ref(), "--data".as_ref(), data.as_os_str()]).output();
        let audit = audit.unwrap();
        assert!(audit.status.success(), "{}", said(&audit));
    }
}

impl Drop for Ocs {
    fn drop(&mut self) {
        terminate(&mut self.child);
    }
}

/// Three free ports of loopback.
pub(crate) fn free_ports() -> [SocketAddr; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap())
}

fn listens(child: &mut Child, addresses: &[SocketAddr]) -> bool {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if addresses.iter().all(|address| TcpStream::connect(address).is_ok()) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

/// Asks a child to end, and makes it end when it does not.
fn terminate(child: &mut Child) {
    if child.try_wait().unwrap().is_some() {
        return;
    }
    let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if child.try_wait().unwrap().is_some() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Micro-units of an amount with at most six decimals.
pub(crate) fn micros(amount: &str) -> i64 {
    let (whole, decimals) = amount.split_once('.').unwrap_or((amount, ""));
    format!("{whole}{decimals:0<6}").parse().unwrap()
}

/// Everything a program said.
pub(crate) fn said(output: &Output) -> String {
    format!("{}\n{}{}", output.status, String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs a program that must end in time.
pub(crate) fn bounded(command: &mut Command, folder: &Path, patience: Duration) -> Output {
    let (out, err) = (folder.join("stdout"), folder.join("stderr"));
    let command = command.stdin(Stdio::null()).stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
    let mut child = command.spawn().unwrap();
    let until = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Output { status, stdout: std::fs::read(out).unwrap(), stderr: std::fs::read(err).unwrap() };
        }
        if Instant::now() >= until {
            terminate(&mut child);
            let said = [out, err].map(|file| std::fs::read_to_string(file).unwrap_or_default()).concat();
            panic!("still running after {patience:?}: {said}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Where the files of these tests lie.
pub(crate) fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers")
}

/// The interpreter of the environment that `setup.sh` makes, if it has this module.
pub(crate) fn python_with(module: &str) -> Option<PathBuf> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers-venv/bin/python");
    let ready = Command::new(&python).args(["-c", &format!("import {module}")]).output();
    ready.is_ok_and(|ready| ready.status.success()).then_some(python)
}

/// Says that a test, or some of it, was skipped, where everybody sees it: libtest keeps to itself what is printed the usual way.
///
/// # Panics
/// When `OCS_REQUIRE_PEERS=1` and `setup.sh` has said that `tool` is there.
pub(crate) fn skip(tool: &str, why: &str) {
    let installed = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers-installed"));
    let is_there = installed.is_ok_and(|names| names.lines().any(|name| name == tool));
    let required = std::env::var("OCS_REQUIRE_PEERS").is_ok_and(|required| required == "1");
    assert!(!(required && is_there), "{tool} is installed and must be used: {why}");
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {why}");
}

/// Makes sure that `setup.sh` was run once, whoever comes first.
pub(crate) fn set_up() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let done = Command::new("sh").arg(here().join("setup.sh")).stdin(Stdio::null()).output();
        match done {
            Ok(done) if done.status.success() => {}
            Ok(done) => eprintln!("peers: setup.sh: {}", said(&done)),
            Err(error) => eprintln!("peers: setup.sh: {error}"),
        }
    });
}
