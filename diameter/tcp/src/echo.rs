//! A handler that charges nobody: what the transport and the codec cost by themselves, and a partner for tests.

use std::time::Instant;

use diameter::{ApplicationId, AvpCode, Identity, Message, MessageWriter, PeerFacts, ResultCode};
use rating_engine::ids::Lsn;

use crate::handler::{Handled, Handler};

/// Answers every request with success and with what has to come back of it.
#[derive(Clone, Debug)]
pub struct EchoHandler {
    origin: Identity,
}

impl EchoHandler {
    /// Answers as `origin`.
    #[must_use]
    pub const fn new(origin: Identity) -> Self {
        Self { origin }
    }
}

impl Handler for EchoHandler {
    fn handle(&mut self, _: &PeerFacts, request: &Message<'_>, _: Instant, out: &mut Vec<u8>) -> Handled {
        let mut answer = MessageWriter::new(out, &request.header().answer());
        // Session-Id comes first in the request, too (RFC 6733 8.8).
        let mut avps = request.avps().map_while(Result::ok);
        if let Some(session) = avps.next().filter(|avp| avp.code == AvpCode::SESSION_ID) {
            answer.copy(&session);
        }
        answer.u32(AvpCode::RESULT_CODE, ResultCode::SUCCESS.0);
        answer.utf8(AvpCode::ORIGIN_HOST, &self.origin.host);
        answer.utf8(AvpCode::ORIGIN_REALM, &self.origin.realm);
        answer.u32(AvpCode::AUTH_APPLICATION_ID, ApplicationId::CREDIT_CONTROL.0);
        for avp in avps {
            if matches!(avp.code, AvpCode::CC_REQUEST_TYPE | AvpCode::CC_REQUEST_NUMBER | AvpCode::PROXY_INFO) {
                answer.copy(&avp);
            }
        }
        match answer.finish() {
            Ok(_) => Handled::Answer { lsn: Lsn::new(0), deadline: None },
            Err(_) => Handled::NoAnswer,
        }
    }
}
