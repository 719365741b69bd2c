//! The client, against a server that is written out by hand.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use diameter::{AvpCode, CommandCode, Message, MessageWriter};
use diameter_tcp::Client;
use support::*;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

fn answer(request: &[u8], code: u32) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut answer = MessageWriter::new(&mut octets, &Message::parse(request).unwrap().header().answer());
    answer.u32(AvpCode::RESULT_CODE, code);
    answer.finish().unwrap();
    octets
}

/// A client that connects, and the server's end after the CEA with this code.
async fn connect(code: u32) -> (tokio::task::JoinHandle<std::io::Result<Client>>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = tokio::spawn(async move {
        let more = |cer: &mut MessageWriter<'_>| cer.u32(AvpCode::ORIGIN_STATE_ID, 7);
        Client::connect_with(address, identity("pgw"), more).await
    });
    let mut stream = listener.accept().await.unwrap().0;
    stream.set_nodelay(true).unwrap();
    let cer = read_message(&mut stream).await;
    assert_eq!(command(&cer), CommandCode::CAPABILITIES_EXCHANGE);
    assert_eq!(Message::parse(&cer).unwrap().find(AvpCode::ORIGIN_STATE_ID).unwrap().u32().unwrap(), 7);
    let cea = answer(&cer, code);
    let (head, tail) = cea.split_at(15);
    stream.write_all(head).await.unwrap();
    tokio::task::yield_now().await;
    stream.write_all(tail).await.unwrap();
    (client, stream)
}

#[tokio::test]
async fn it_answers_the_base_protocol_by_itself() {
    let (client, mut stream) = connect(2001).await;
    let (mut sender, mut receiver) = client.await.unwrap().unwrap().split();
    assert_eq!((sender.queue(&ccr()), sender.queue(&ccr())), (1, 2));
    sender.flush().await.unwrap();
    let (first, second) = (read_message(&mut stream).await, read_message(&mut stream).await);
    let dpr = base("ocs", CommandCode::DISCONNECT_PEER, |dpr| dpr.u32(AvpCode::DISCONNECT_CAUSE, 0));
    let all = [answer(&second, 2001), dwr("ocs"), answer(&first, 2001), dpr].concat();
    let (head, tail) = all.split_at(all.len() / 3);
    stream.write_all(head).await.unwrap();
    let mut got = Vec::new();
    receiver.read(|message, _| got.push(message.header().hop_by_hop)).await.unwrap();
    stream.write_all(tail).await.unwrap();
    while !receiver.is_disconnected() {
        receiver.read(|message, _| got.push(message.header().hop_by_hop)).await.unwrap();
    }
    assert_eq!(got, [2, 1]);
    let dwa = read_message(&mut stream).await;
    assert_eq!((command(&dwa), code(&dwa), id(&dwa)), (CommandCode::DEVICE_WATCHDOG, 2001, 0x7000));
    assert_eq!(command(&read_message(&mut stream).await), CommandCode::DISCONNECT_PEER);
}

#[tokio::test]
async fn a_refusal_is_an_error() {
    let (client, _stream) = connect(5010).await;
    assert_eq!(client.await.unwrap().unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
}
