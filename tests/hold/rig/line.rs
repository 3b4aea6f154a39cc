//! A connection that is kept: many requests, one after another, as real agents have it.

use std::io;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::http::{Reply, Target};

#[derive(Default)]
pub struct Line(Option<http1::SendRequest<Full<Bytes>>>);

impl Line {
    pub async fn ask(&mut self, target: &Target, verb: &str, body: String) -> io::Result<Reply> {
        let (parts, body) = self.open(target, verb, body).await?.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let session = parts.headers.get("mcp-session-id");
        let session = session.and_then(|id| id.to_str().ok()).map(str::to_owned);
        Ok(Reply { status: parts.status, session, body })
    }

    /// Its answer as it begins.
    pub async fn open(
        &mut self,
        target: &Target,
        verb: &str,
        body: String,
    ) -> io::Result<hyper::Response<Incoming>> {
        let mut kept = self.0.take();
        if let Some(open) = &mut kept
            && open.ready().await.is_err()
        {
            kept = None;
        }
        let mut sender = match kept {
            Some(open) => open,
            None => {
                let stream = TcpStream::connect(target.address).await?;
                stream.set_nodelay(true)?;
                let (sender, driver) =
                    http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
                tokio::spawn(driver);
                sender
            }
        };
        let mut request = Request::builder().method(verb).uri(&target.path);
        for (name, value) in &target.headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(body.into())).map_err(io::Error::other)?;
        let answer = sender.send_request(request).await.map_err(io::Error::other)?;
        self.0 = Some(sender);
        Ok(answer)
    }

    /// The agent leaves, whatever is under way.
    pub fn hang_up(&mut self) {
        self.0 = None;
    }
}
