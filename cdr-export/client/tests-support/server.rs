//! The charging system as a process of its own, for tests of programs that read its CDRs.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long a start may take.
const START_MAX: Duration = Duration::from_secs(60);

/// The charging system's program: beside this one, built where it is not.
pub(crate) fn ocs(beside: &str) -> PathBuf {
    let program = Path::new(beside).with_file_name("ocs");
    if !program.exists() {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--locked", "-p", "ocs"]);
        if Path::new(beside).components().any(|part| part.as_os_str() == "release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success());
    }
    program
}

pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A charging system on a folder of its own.
pub(crate) struct Server {
    pub(crate) program: PathBuf,
    pub(crate) folder: tempfile::TempDir,
    ports: [SocketAddr; 3],
    subscribers: u64,
    child: Option<Child>,
}

impl Server {
    pub(crate) fn start(beside: &str, subscribers: u64) -> Self {
        let ports = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap()).map(|it| it.local_addr().unwrap());
        let folder = tempfile::tempdir().unwrap();
        let mut server = Self { program: ocs(beside), folder, ports, subscribers, child: None };
        server.restart();
        server
    }

    /// Where gRPC is served.
    pub(crate) fn grpc(&self) -> SocketAddr {
        self.ports[1]
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn books(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn restart(&mut self) {
        let [gy, grpc, metrics] = self.ports.map(|port| port.to_string());
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let mut command = Command::new(&self.program);
        command.args(["dev", "--quiet", "--subscribers", &self.subscribers.to_string(), "--data"]).arg(self.data());
        command.args(["--gy", &gy, "--grpc", &grpc, "--metrics", &metrics]);
        let mut child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let began = Instant::now();
        while self.ports[..2].iter().any(|port| TcpStream::connect(port).is_err()) {
            assert!(child.try_wait().unwrap().is_none() && began.elapsed() < START_MAX, "{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        self.child = Some(child);
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub(crate) fn stop_and_audit(&mut self) {
        let mut child = self.child.take().unwrap();
        assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
        assert!(child.wait().unwrap().success(), "{}", self.log());
        let audit = Command::new(&self.program).args(["audit", "--data"]).arg(self.data()).output().unwrap();
        assert!(audit.status.success(), "{}", said(&audit));
    }

    /// A program that is told where the server is.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("OCS_SERVER", format!("http://{}", self.ports[1]));
        command
    }

    pub(crate) fn ask(&self, arguments: &[&str]) -> Output {
        self.command(&self.program).args(arguments).output().unwrap()
    }

    pub(crate) fn change(&self, arguments: &[&str], key: &str) -> bool {
        self.ask(&[arguments, &["--reason", "a test", "--key", key]].concat()).status.success()
    }

    pub(crate) fn traffic(&self, seconds: u64, rate: u64) -> Child {
        let mut traffic = Command::new(&self.program);
        traffic.args(["traffic", "--to", &self.ports[0].to_string(), "--seconds", &seconds.to_string()]);
        traffic.args(["--subscribers", &self.subscribers.to_string(), "--rate", &rate.to_string()]);
        traffic.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
