//! HTTP by hand: requests that are not finished, and answers that are not read.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::http::Target;

/// A POST of this body, as bytes.
pub fn bytes(target: &Target, verb: &str, body: &[u8]) -> Vec<u8> {
    let mut head = format!("{verb} {} HTTP/1.1\r\n", target.path);
    for (name, value) in &target.headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("connection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Sends, and reads nothing: the connection is open while this lives.
pub async fn unread(address: SocketAddr, request: &[u8]) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request).await?;
    Ok(stream)
}

/// Reads what comes to its end and keeps the first and the last KiB of it; how many bytes there were.
pub async fn drained(mut stream: TcpStream) -> (String, usize) {
    let (mut kept, mut count, mut part) = (Vec::new(), 0, vec![0; 1 << 16]);
    let read = async {
        while let Ok(n @ 1..) = stream.read(&mut part).await {
            count += n;
            kept.extend_from_slice(&part[..n]);
            if kept.len() > 2 << 16 {
                kept.drain(1024..kept.len() - 1024);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(120), read).await.expect("it ends");
    (String::from_utf8_lossy(&kept).into_owned(), count)
}

/// Reads until this was said.
pub async fn until(stream: &mut TcpStream, words: &str) -> String {
    let mut said = Vec::new();
    let read = async {
        while !String::from_utf8_lossy(&said).contains(words) {
            assert!(stream.read_buf(&mut said).await.unwrap() > 0, "it ended before {words}");
        }
    };
    tokio::time::timeout(Duration::from_secs(10), read).await.expect("it is said within 10 s");
    String::from_utf8_lossy(&said).into_owned()
}
