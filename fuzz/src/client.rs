//! A client that says anything over a socket.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::net::TcpSocket;
use tokio::time::timeout;

use crate::rig::RIG;

/// Longest that a client waits for the beginning of an answer: what it said may be no request yet.
const ANSWER_MAX: Duration = Duration::from_millis(20);
/// Longest that a client waits for the server to close, after it has said everything: a subscription goes on for ever.
const WAIT_MAX: Duration = Duration::from_millis(300);

const UPGRADE: &[u8] = b"GET /graphql HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n";

/// Says `input` to the server.
pub(crate) fn http(input: &[u8]) {
    talk(&[input]);
}

/// Opens a WebSocket and sends `input` on it: frames, or something like them.
pub(crate) fn websocket(input: &[u8]) {
    talk(&[UPGRADE, input]);
}

fn talk(parts: &[&[u8]]) {
    static CLIENTS: AtomicU32 = AtomicU32::new(0);
    let number = CLIENTS.fetch_add(1, Ordering::Relaxed);
    RIG.runtime.block_on(async {
        let Ok(socket) = TcpSocket::new_v4() else { return };
        // The ports of one address would be used up. Where a system has no other, that one does for a while.
        let [_, _, high, low] = number.to_be_bytes();
        let _ = socket.bind(SocketAddr::from((Ipv4Addr::new(127, 1, high, low), 0)));
        let Ok(mut stream) = socket.connect(RIG.address).await else { return };
        let talk = async {
            for part in parts {
                // The server may have closed, which is an answer.
                if stream.write_all(part).await.is_err() {
                    return;
                }
            }
            // A client that ends its side at once is not answered any more.
            let mut first = [0; 1_024];
            let _ = timeout(ANSWER_MAX, stream.read(&mut first)).await;
            let _ = stream.shutdown().await;
            let _ = copy(&mut stream, &mut sink()).await;
        };
        let _ = timeout(WAIT_MAX, talk).await;
    });
    assert!(!RIG.serving.is_finished(), "the server ended");
}
