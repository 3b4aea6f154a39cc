//! What an allowed call costs: straight to the server, through a proxy that only inspects, through us.
//!
//! The proxy is the practical limit: hyper on both sides, the JSON parsed once, a policy looked up. All
//! three are measured in turns, in one run, since only their ratios carry over to another machine. The bar
//! is 1.3 × the proxy's added latency and CPU. `cargo bench --bench allowed`.

mod rig;

use std::{
    collections::HashMap,
    convert::Infallible,
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::{Request, Response, body::Incoming, client, server, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::value::RawValue;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Mutex,
};

use rig::{Echo, Line, Process, at, cpu_of, tools_call};

const ROUND: Duration = Duration::from_millis(800);
const ROUNDS: usize = 5;
const POLICY: &str = r#"{"version":"1","default":"deny","tools":{"look":{"require":[{"conditions":[
  {"path":"args.region","op":"in","value":["eu-1","us-1"]},{"path":"args.count","op":"lte","value":10}]}]}}}"#;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("inspect"), Some(upstream)) => runtime.block_on(inspect(upstream.parse().expect("an address"))),
        _ => runtime.block_on(compare()),
    }
}

async fn compare() {
    let echo = Echo::start().await;
    let broker = Process::start(echo.address, POLICY, "").await;
    let proxy = Proxy::start(echo.address);
    let ways = [
        ("direct", echo.address, std::process::id()),
        ("inspecting proxy", proxy.address, proxy.child.id()),
        ("countersign", broker.address, broker.id()),
    ];
    for connections in [1, 16, 128] {
        let mut seen: Vec<Vec<Round>> = vec![Vec::new(), Vec::new(), Vec::new()];
        for round in 0..=ROUNDS {
            for (way, (_, address, process)) in ways.iter().enumerate() {
                let measured = measure(*address, *process, connections).await;
                // The first round fills pools and caches.
                if round > 0 {
                    seen[way].push(measured);
                }
            }
        }
        tell(connections, &ways.map(|(name, ..)| name), &seen);
    }
}

struct Round {
    p50: Duration,
    per_second: f64,
    cpu_per_10k: f64,
}

async fn measure(address: SocketAddr, process: u32, connections: usize) -> Round {
    let (cpu, begun) = (cpu_of(process), Instant::now());
    let end = begun + ROUND;
    let agents: Vec<_> = (0..connections)
        .map(|_| {
            tokio::spawn(async move {
                let request = tools_call(address, "look", "same");
                let mut line = Line::open(address).await;
                let mut took = Vec::new();
                while Instant::now() < end {
                    let begun = Instant::now();
                    let answer = line.ask(&request).await;
                    took.push(begun.elapsed());
                    assert!(answer.ends_with(b"\"complete\"}}"), "{}", String::from_utf8_lossy(&answer));
                }
                took
            })
        })
        .collect();
    let mut took = Vec::new();
    for agent in agents {
        took.extend(agent.await.expect("an agent"));
    }
    let per_second = took.len() as f64 / begun.elapsed().as_secs_f64();
    let cpu_per_10k = (cpu_of(process) - cpu).as_secs_f64() * 1e4 / took.len() as f64;
    took.sort_unstable();
    Round { p50: at(&took, 0.5), per_second, cpu_per_10k }
}

fn tell(connections: usize, names: &[&str; 3], seen: &[Vec<Round>]) {
    let median = |way: usize, of: fn(&Round) -> f64| {
        let mut values: Vec<f64> = seen[way].iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let p50 = |way| median(way, |round| round.p50.as_secs_f64() * 1e6);
    let cpu = |way| median(way, |round| round.cpu_per_10k);
    println!("{connections} connections");
    for (way, name) in names.iter().enumerate() {
        let rate = median(way, |round| round.per_second);
        let (p50, added, cpu) = (p50(way), p50(way) - p50(0), cpu(way));
        println!(
            "  {name:>17}: p50 {p50:>6.0} µs, added {added:>6.0} µs, {rate:>7.0}/s, {cpu:.2} CPU-s per 10k"
        );
    }
    let (latency, work) = ((p50(2) - p50(0)) / (p50(1) - p50(0)), cpu(2) / cpu(1));
    println!("  countersign is {latency:.2} × the proxy's added p50, {work:.2} × its CPU; bar 1.3");
}

// ── the practical limit ───────────────────────────────────────────────

/// A process of its own, so that its CPU can be told from the load's.
struct Proxy {
    address: SocketAddr,
    child: Child,
}

impl Proxy {
    fn start(upstream: SocketAddr) -> Self {
        let own = std::env::current_exe().expect("this bench");
        let mut command = Command::new(own);
        let mut child =
            command.args(["inspect", &upstream.to_string()]).stdout(Stdio::piped()).spawn().expect("a proxy");
        let mut said = String::new();
        let out = child.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut said).expect("an address");
        Self { address: said.trim().parse().expect("an address"), child }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(serde::Deserialize)]
struct Asked<'a> {
    method: &'a str,
    #[serde(borrow)]
    params: Params<'a>,
}

#[derive(serde::Deserialize)]
struct Params<'a> {
    name: &'a str,
    #[serde(borrow)]
    arguments: &'a RawValue,
}

type Sender = client::conn::http1::SendRequest<Full<Bytes>>;

async fn inspect(upstream: SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("{}", listener.local_addr().expect("an address"));
    std::io::stdout().flush().expect("a pipe");
    let policy: Arc<HashMap<String, bool>> = Arc::new([("look".to_owned(), true)].into());
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let policy = Arc::clone(&policy);
        tokio::spawn(async move {
            let onward = TcpStream::connect(upstream).await.expect("the server");
            onward.set_nodelay(true).expect("a socket");
            let handshake = client::conn::http1::handshake(TokioIo::new(onward)).await;
            let (sender, connection) = handshake.expect("a connection");
            tokio::spawn(connection);
            let sender = Arc::new(Mutex::new(sender));
            let service = service_fn(move |request| pass(Arc::clone(&sender), Arc::clone(&policy), request));
            let _ = server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn pass(
    sender: Arc<Mutex<Sender>>,
    policy: Arc<HashMap<String, bool>>,
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, hyper::Error>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    let asked: Asked<'_> = serde_json::from_slice(&body).expect("JSON");
    let fits = asked.method == "tools/call" && asked.params.arguments.get().len() < 65_536;
    assert!(fits && policy.get(asked.params.name) == Some(&true), "the bench asks for what is allowed");
    let request = Request::from_parts(parts, Full::new(body));
    let response = sender.lock().await.send_request(request).await.expect("an answer");
    Ok(response.map(http_body_util::BodyExt::boxed))
}
