//! That the real disk is really asked: the system calls of the real binary, as strace sees them.
//!
//! One network element with one request at a time, so that every answer must come after the sync of the frame that its request
//! led to, and no frame lies about unsynced while an answer leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::server::{BINARY, bounded, free_ports, said, set_up, skip};

const PATIENCE: Duration = Duration::from_secs(60);

/// A system call that returned, in the order of their returns; what is sent counts from when it was asked for.
struct Call {
    name: String,
    arguments: String,
}

/// What the trace says, unfinished and resumed lines put together.
fn calls(trace: &str) -> Vec<Call> {
    let mut begun: BTreeMap<&str, String> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((process, rest)) = line.split_once(char::is_whitespace) else { continue };
        let rest = rest.trim_start();
        let whole = if let Some(beginning) = rest.strip_suffix(" <unfinished ...>") {
            if !is_send(beginning) {
                begun.insert(process, beginning.to_owned());
                continue;
            }
            beginning.to_owned()
        } else if let Some(resumed) = rest.strip_prefix("<... ") {
            let Some(beginning) = begun.remove(process) else { continue };
            format!("{beginning}{}", resumed.split_once("resumed>").map_or("", |(_, end)| end))
        } else {
            rest.to_owned()
        };
        let Some((name, arguments)) = whole.split_once('(') else { continue };
        let failed = arguments.rsplit_once(" = ").is_some_and(|(_, result)| result.trim_start().starts_with('-'));
        assert!(!failed || is_send(&whole), "{whole}");
        calls.push(Call { name: name.to_owned(), arguments: arguments.to_owned() });
    }
    calls
}

fn is_send(call: &str) -> bool {
    ["sendto(", "sendmsg(", "write(", "writev("].iter().any(|name| call.starts_with(name))
}

/// The path that strace puts behind a descriptor: `9</tmp/x>`.
fn path_of(arguments: &str) -> &str {
    arguments.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(path, _)| path)
}

fn serve(trace: &Path, data: &Path, [gy, grpc, metrics]: [std::net::SocketAddr; 3]) -> Child {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-yy", "-s", "0", "-e", "signal=none", "-e"]);
    strace.arg("trace=pwrite64,fdatasync,fsync,rename,renameat,renameat2,sendto,sendmsg,write,writev");
    strace.arg("-o").arg(trace).arg(BINARY).args(["dev", "--quiet", "--subscribers", "20", "--data"]).arg(data);
    strace.args(["--gy", &gy.to_string(), "--grpc", &grpc.to_string(), "--metrics", &metrics.to_string()]);
    let mut child = strace.stdin(Stdio::null()).spawn().unwrap();
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(grpc).is_err() || TcpStream::connect(gy).is_err() {
        assert!(child.try_wait().unwrap().is_none(), "the server did not start");
        assert!(Instant::now() < until, "the server does not listen");
        std::thread::sleep(Duration::from_millis(50));
    }
    child
}

#[test]
fn every_answer_waits_for_the_real_disk_and_every_name_is_made_durable() {
    set_up();
    let works = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output();
    if !works.is_ok_and(|ran| ran.status.success()) {
        skip("strace", "strace is not installed or may not trace");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let (data, trace) = (root.join("new/above/data"), root.join("trace"));
    let ports = free_ports();
    let mut child = serve(&trace, &data, ports);
    let mut traffic = Command::new(BINARY);
    traffic.args(["traffic", "--to", &ports[0].to_string(), "--connections", "1", "--sessions", "1"]);
    traffic.args(["--subscribers", "20", "--seconds", "3"]);
    let ran = bounded(&mut traffic, &root, PATIENCE);
    assert!(ran.status.success(), "{}", said(&ran));
    // strace passes no signal on: the server itself is told to end. It has written into its lock who it is.
    let lock = std::fs::read_to_string(data.join("lock")).unwrap();
    let server = lock.trim().rsplit(' ').next().unwrap().to_owned();
    assert!(Command::new("kill").args(["-TERM", &server]).status().unwrap().success());
    let until = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < until, "the server does not end");
        std::thread::sleep(Duration::from_millis(50));
    }

    let calls = calls(&std::fs::read_to_string(&trace).unwrap());
    // Up to the arrow that `path_of` ends at.
    let gy = format!("TCP:[{}-", ports[0]);
    let log = data.join("log");
    let ours = |path: &str| Path::new(path).starts_with(&data) && !Path::new(path).starts_with(data.join("state"));
    let (mut unsynced, mut unnamed) = (BTreeSet::new(), BTreeSet::new());
    let (mut synced_folders, mut synced_frames, mut answers) = (BTreeSet::new(), 0u64, 0u64);
    let mut frames_before = 0;
    for Call { name, arguments } in &calls {
        let path = path_of(arguments);
        match name.as_str() {
            "pwrite64" if Path::new(path).parent() == Some(&log) && path.ends_with(".segment") => {
                assert!(!unnamed.contains(&log), "{path} is written before its name is durable");
                unsynced.insert(path.to_owned());
            }
            "fdatasync" | "fsync" => {
                synced_frames += u64::from(unsynced.remove(path));
                unnamed.remove(Path::new(path));
                synced_folders.insert(path.to_owned());
            }
            "rename" | "renameat" | "renameat2" => {
                let target = arguments.rsplit('"').nth(1).unwrap_or_default();
                if ours(target) {
                    unnamed.insert(Path::new(target).parent().unwrap().to_owned());
                }
            }
            // What it sends where it serves Gy; some of that is capabilities and goodbyes.
            _ if path.starts_with(&gy) => {
                assert!(unsynced.is_empty(), "an answer leaves while {unsynced:?} is not on the disk");
                answers += u64::from(synced_frames > frames_before);
                frames_before = synced_frames;
            }
            _ => {}
        }
    }
    assert!(answers > 5 && synced_frames >= answers, "{answers} answers, {synced_frames} frames synced");
    assert!(unnamed.is_empty(), "renamed and never made durable: {unnamed:?}");
    for above in [&root, &root.join("new"), &root.join("new/above"), &data, &log, &data.join("cdr")] {
        assert!(synced_folders.contains(above.to_str().unwrap()), "{} was never synced", above.display());
    }
}
