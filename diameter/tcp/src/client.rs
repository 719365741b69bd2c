//! The other end: a small Diameter client for load generators and tests.
//!
//! [`Client::connect`] exchanges capabilities; then [`Client::call`] asks one thing at a time, or [`Client::split`] gives
//! a [`Sender`] and a [`Receiver`] for two tasks, with as many requests in flight as the caller likes. Requests are
//! numbered upwards, so that answers find their request by hop-by-hop id in an array. Watchdog and disconnect requests of
//! the server are answered inside.
//!
//! Absent: reconnecting, a watchdog of its own, timeouts.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use diameter::avp::Address;
use diameter::header::HEADER_OCTETS;
use diameter::{
    ApplicationId, AvpCode, CommandCode, Flags, Header, Identity, Message, MessageWriter, ResultCode, frame_length,
};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::input::Input;

/// Octets read at once.
const READ_OCTETS: usize = 256 << 10;

/// The longest message that is accepted.
const MESSAGE_OCTETS_MAX: usize = 1 << 20;

/// Disconnect-Cause (RFC 6733 5.4.3).
const DO_NOT_WANT_TO_TALK_TO_YOU: u32 = 2;

/// An open connection to a server.
#[derive(Debug)]
pub struct Client {
    sender: Sender,
    receiver: Receiver,
}

/// The half that asks.
#[derive(Debug)]
pub struct Sender {
    line: Arc<Line>,
    queue: Vec<u8>,
    next: u32,
}

/// The half that listens.
#[derive(Debug)]
pub struct Receiver {
    line: Arc<Line>,
    input: Input,
    disconnected: bool,
}

/// What both halves share.
#[derive(Debug)]
struct Line {
    stream: TcpStream,
    identity: Identity,
    /// Whole messages on their way into the socket. Locked for a copy or a write that does not block.
    output: Mutex<Output>,
}

#[derive(Debug, Default)]
struct Output {
    octets: Vec<u8>,
    sent: usize,
}

impl Client {
    /// Connects as `identity`, with credit control as the only application.
    ///
    /// # Errors
    /// Those of the socket; `PermissionDenied` when the server refuses.
    pub async fn connect(server: SocketAddr, identity: Identity) -> io::Result<Self> {
        Self::connect_with(server, identity, |_| {}).await
    }

    /// As [`Client::connect`], with more AVPs in the CER.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect_with(
        server: SocketAddr,
        identity: Identity,
        more: impl FnOnce(&mut MessageWriter<'_>),
    ) -> io::Result<Self> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        let address = stream.local_addr()?.ip();
        let line = Arc::new(Line { stream, identity, output: Mutex::default() });
        let mut receiver = Receiver {
            line: Arc::clone(&line),
            input: Input::new(READ_OCTETS, MESSAGE_OCTETS_MAX),
            disconnected: false,
        };
        let cer = line.base_request(CommandCode::CAPABILITIES_EXCHANGE, |cer| {
            cer.address(AvpCode::HOST_IP_ADDRESS, Address::Ip(address));
            cer.u32(AvpCode::VENDOR_ID, 0);
            cer.utf8(AvpCode::PRODUCT_NAME, "diameter-tcp client");
            cer.u32(AvpCode::AUTH_APPLICATION_ID, ApplicationId::CREDIT_CONTROL.0);
            more(cer);
        });
        line.send(&cer).await?;
        let mut code = None;
        let read_code = |answer: &Message<'_>| answer.find(AvpCode::RESULT_CODE)?.u32().ok().map(ResultCode);
        while receiver.read(|answer, _| code = read_code(answer)).await? == 0 {}
        match code {
            Some(ResultCode::SUCCESS) => {}
            Some(code) => return Err(io::Error::new(io::ErrorKind::PermissionDenied, code.to_string())),
            None => return Err(io::ErrorKind::InvalidData.into()),
        }
        Ok(Self { sender: Sender { line, queue: Vec::new(), next: 1 }, receiver })
    }

    /// The two halves, for two tasks.
    #[must_use]
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }

    /// The half that asks.
    pub const fn sender(&mut self) -> &mut Sender {
        &mut self.sender
    }

    /// The half that listens.
    pub const fn receiver(&mut self) -> &mut Receiver {
        &mut self.receiver
    }

    /// Sends one request and waits for its answer; other messages that come meanwhile are dropped.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn call(&mut self, request: &[u8]) -> io::Result<Vec<u8>> {
        let id = self.sender.queue(request);
        self.sender.flush().await?;
        let mut found = None;
        while found.is_none() {
            self.receiver
                .read(|message, _| {
                    if !message.header().is_request() && message.header().hop_by_hop == id {
                        found = Some(message.octets().to_vec());
                    }
                })
                .await?;
        }
        found.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Ends the connection in good order: DPR, DPA, close.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn disconnect(mut self) -> io::Result<()> {
        self.sender.disconnect(DO_NOT_WANT_TO_TALK_TO_YOU).await?;
        let mut done = false;
        while !done {
            self.receiver.read(|message, _| done |= is_dpa(message)).await?;
        }
        Ok(())
    }
}

fn is_dpa(message: &Message<'_>) -> bool {
    message.header().command == CommandCode::DISCONNECT_PEER && !message.header().is_request()
}

impl Sender {
    /// Queues one request, one whole message; returns its hop-by-hop id, which is one more than that of the request
    /// before. Nothing is sent before [`Sender::flush`].
    pub fn queue(&mut self, request: &[u8]) -> u32 {
        self.queue_with(|out| out.extend_from_slice(request))
    }

    /// Queues the request that `write` appends; its ids are put in afterwards.
    pub fn queue_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> u32 {
        let start = self.queue.len();
        write(&mut self.queue);
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        if let Some(ids) = self.queue.get_mut(start + 12..start + HEADER_OCTETS) {
            let (hop_by_hop, end_to_end) = ids.split_at_mut(4);
            hop_by_hop.copy_from_slice(&id.to_be_bytes());
            end_to_end.copy_from_slice(&id.to_be_bytes());
        }
        id
    }

    /// The hop-by-hop id of the next request.
    #[must_use]
    pub const fn next_id(&self) -> u32 {
        self.next
    }

    /// Octets that are queued.
    #[must_use]
    pub const fn queued_octets(&self) -> usize {
        self.queue.len()
    }

    /// Sends what is queued, in as few writes as possible; returns when the socket has taken it.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.line.lock().append(&mut self.queue);
        self.line.flush().await
    }

    /// Sends DPR with this Disconnect-Cause (RFC 6733 5.4.3).
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn disconnect(&mut self, cause: u32) -> io::Result<()> {
        let dpr = self.line.base_request(CommandCode::DISCONNECT_PEER, |dpr| {
            dpr.u32(AvpCode::DISCONNECT_CAUSE, cause);
        });
        self.line.send(&dpr).await
    }

    /// Sends octets as they are, after what is queued.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn send_raw(&mut self, octets: &[u8]) -> io::Result<()> {
        self.queue.extend_from_slice(octets);
        self.flush().await
    }
}

impl Receiver {
    /// Waits for octets and hands every whole message to `each`, with a buffer for replies to requests of the server;
    /// returns how many there were, perhaps 0. Watchdog and disconnect requests are answered without being handed out.
    ///
    /// # Errors
    /// Those of the socket; `UnexpectedEof` when the server has closed it, `InvalidData` when it sends nonsense.
    pub async fn read(&mut self, mut each: impl FnMut(&Message<'_>, &mut Vec<u8>)) -> io::Result<usize> {
        let octets = loop {
            match self.line.stream.try_read(self.input.space()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.line.stream.readable().await?,
                read => break read?,
            }
        };
        if octets == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.input.filled(octets);
        let mut replies = Vec::new();
        let mut messages = 0;
        let mut rest = self.input.octets();
        let all = rest.len();
        while let Some(length) = frame_length(rest, MESSAGE_OCTETS_MAX).map_err(invalid)? {
            let Some((message, behind)) = rest.split_at_checked(length) else { break };
            rest = behind;
            let message = Message::parse(message).map_err(invalid)?;
            match (message.header().command, message.header().is_request()) {
                (CommandCode::DEVICE_WATCHDOG, true) => self.line.base_answer(&message, &mut replies),
                (CommandCode::DISCONNECT_PEER, true) => {
                    self.disconnected = true;
                    self.line.base_answer(&message, &mut replies);
                }
                _ => {
                    messages += 1;
                    each(&message, &mut replies);
                }
            }
        }
        let used = all - rest.len();
        self.input.consume(used);
        if !replies.is_empty() {
            self.line.send(&replies).await?;
        }
        Ok(messages)
    }

    /// Sends answers to requests of the server, whole messages, outside of [`Receiver::read`].
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn reply(&self, answers: &[u8]) -> io::Result<()> {
        self.line.send(answers).await
    }

    /// Whether the server has asked to disconnect.
    #[must_use]
    pub const fn is_disconnected(&self) -> bool {
        self.disconnected
    }
}

fn invalid(error: diameter::FramingError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, Output> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, octets: &[u8]) -> io::Result<()> {
        self.lock().octets.extend_from_slice(octets);
        self.flush().await
    }

    async fn flush(&self) -> io::Result<()> {
        while !self.lock().write(&self.stream)? {
            self.stream.ready(Interest::WRITABLE).await?;
        }
        Ok(())
    }

    fn base_request(&self, command: CommandCode, avps: impl FnOnce(&mut MessageWriter<'_>)) -> Vec<u8> {
        let mut octets = Vec::new();
        let application = ApplicationId::COMMON;
        // 0 is never the id of a request that is queued.
        let header = Header { flags: Flags::REQUEST, command, application, hop_by_hop: 0, end_to_end: 0 };
        let mut request = MessageWriter::new(&mut octets, &header);
        self.origin(&mut request);
        avps(&mut request);
        finish(request);
        octets
    }

    fn base_answer(&self, request: &Message<'_>, out: &mut Vec<u8>) {
        let mut answer = MessageWriter::new(out, &request.header().answer());
        answer.u32(AvpCode::RESULT_CODE, ResultCode::SUCCESS.0);
        self.origin(&mut answer);
        finish(answer);
    }

    fn origin(&self, message: &mut MessageWriter<'_>) {
        message.utf8(AvpCode::ORIGIN_HOST, &self.identity.host);
        message.utf8(AvpCode::ORIGIN_REALM, &self.identity.realm);
    }
}

fn finish(message: MessageWriter<'_>) {
    // Cannot be too long: two names and a few numbers. If the caller made it so, nothing is sent.
    let _ = message.finish();
}

impl Output {
    /// Takes all octets of `queue`.
    fn append(&mut self, queue: &mut Vec<u8>) {
        if self.octets.is_empty() {
            mem::swap(&mut self.octets, queue);
        } else {
            self.octets.append(queue);
        }
    }

    /// Writes until the socket takes no more; whether everything went out.
    fn write(&mut self, stream: &TcpStream) -> io::Result<bool> {
        while let Some(octets) = self.octets.get(self.sent..).filter(|octets| !octets.is_empty()) {
            match stream.try_write(octets) {
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.octets.clear();
        self.sent = 0;
        Ok(true)
    }
}
