//! Work that has time: computing that the processors do when nothing else wants them.
//!
//! Reading a document of ten thousand prices takes a processor for some hundred milliseconds, which requests of the network would wait
//! for. What runs here must take no lock that charging takes: whoever holds one and is not run stops everybody. Absent: anything
//! that waits.

use std::panic::resume_unwind;
use std::thread;

use rustix::process::setpriority_process;

/// The highest there is: of two threads that want a processor, the other one gets nearly all of it.
const NICENESS: i32 = 19;

/// Computes on a thread of the lowest priority, and waits for it.
///
/// # Errors
/// When the system gives no thread.
pub(crate) fn calmly<T: Send>(work: impl FnOnce() -> T + Send) -> std::io::Result<T> {
    thread::scope(|scope| {
        let run = || {
            // Of this thread alone. Where it is not allowed, the work is done as any other.
            let _ = setpriority_process(None, NICENESS);
            work()
        };
        let done = thread::Builder::new().name("calm".to_owned()).spawn_scoped(scope, run)?.join();
        Ok(done.unwrap_or_else(|panic| resume_unwind(panic)))
    })
}
