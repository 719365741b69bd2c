//! `ocs dev` as a process of its own, on a folder and ports that nobody else has.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a start may take.
const START_MAX: Duration = Duration::from_secs(60);

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_ocs");

/// A data folder and the process that may be running on it.
pub(crate) struct Server {
    folder: tempfile::TempDir,
    /// Where Gy is served.
    pub(crate) gy: SocketAddr,
    /// Where gRPC is served.
    pub(crate) grpc: SocketAddr,
    /// Where metrics are served.
    pub(crate) metrics: SocketAddr,
    subscribers: u64,
    /// What else it is told.
    options: &'static [&'static str],
    child: Option<Child>,
}

/// Ports below the range that systems take for outgoing connections: a client that tries to reach a server that is down
/// must never get the server's own port.
pub(crate) fn free_ports() -> [SocketAddr; 3] {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let start = u64::from(std::process::id()) * 37;
    loop {
        let ports = [0, 1, 2].map(|_| {
            let port = 18_000 + (start + NEXT.fetch_add(1, Ordering::SeqCst)) % 12_000;
            SocketAddr::from((Ipv4Addr::LOCALHOST, u16::try_from(port).unwrap()))
        });
        if ports.iter().all(|port| TcpListener::bind(port).is_ok()) {
            return ports;
        }
    }
}

impl Server {
    /// A new folder with demo subscribers 1 to `subscribers`, served.
    pub(crate) fn start(subscribers: u64) -> Self {
        let mut server = Self::new(subscribers, &[]);
        server.restart();
        server
    }

    /// A folder that is still to be filled, and ports, for a server with these options.
    pub(crate) fn new(subscribers: u64, options: &'static [&'static str]) -> Self {
        let [gy, grpc, metrics] = free_ports();
        let folder = tempfile::tempdir().unwrap();
        Self { folder, gy, grpc, metrics, subscribers, options, child: None }
    }

    /// The data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Starts the process on what is in the folder and waits until it serves.
    pub(crate) fn restart(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("server.log"));
        let child = Command::new(PROGRAM)
            .args(["dev", "--quiet", "--data"])
            .arg(self.data())
            .args(["--subscribers", &self.subscribers.to_string()])
            .args(["--gy", &self.gy.to_string(), "--grpc", &self.grpc.to_string()])
            .args(["--metrics", &self.metrics.to_string()])
            .args(self.options)
            // Whoever repeats late has it read from disk.
            .args(["--ended-sessions-kept", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.unwrap())
            .spawn()
            .unwrap();
        self.child = Some(child);
        let began = Instant::now();
        while [self.gy, self.grpc].iter().any(|port| TcpStream::connect(port).is_err()) {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the server ended at its start: {ended:?}\n{}", self.log());
            assert!(began.elapsed() < START_MAX, "the server does not serve\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What the server has said.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default()
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), None, "it ended before it was killed: {status}\n{}", self.log());
    }

    /// Asks it to end in good order.
    pub(crate) fn ask_to_stop(&self) {
        let process = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-TERM", &process]).status().unwrap().success());
    }

    /// Waits for the end that was asked for; it must end well.
    pub(crate) fn stopped(&mut self) {
        let mut child = self.child.take().unwrap();
        let status: ExitStatus = child.wait().unwrap();
        assert!(status.success(), "it did not end well: {status}\n{}", self.log());
    }

    /// Runs `ocs audit` on the folder of the stopped server and returns its report; everything must add up.
    pub(crate) fn audit(&self) -> serde_json::Value {
        assert!(self.child.is_none(), "it still runs");
        let done = Command::new(PROGRAM).args(["audit", "-o", "json", "--data"]).arg(self.data()).output().unwrap();
        let (out, errors) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "the audit found something: {}\n{out}\n{errors}", done.status);
        serde_json::from_str(&out).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("the server said:\n{}", self.log());
        }
    }
}
