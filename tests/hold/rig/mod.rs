//! The parties: a broker as a process, servers that say whatever they are told to, and the wire itself.

pub mod broker;
pub mod evil;
pub mod line;
pub mod server;
pub mod wire;

use std::{
    fmt::Debug,
    str::FromStr,
    time::{Duration, Instant},
};

use broker::Broker;
use evil::Evil;

/// A size that a recipe makes larger.
pub fn size<N: FromStr<Err: Debug>>(name: &str, small: N) -> N {
    std::env::var(name).map_or(small, |said| said.parse().unwrap())
}

/// A server that is what the story is about, and one that others have meanwhile.
pub async fn servers() -> [(&'static str, String); 2] {
    let url = |url: String| format!("url = \"{url}\"");
    [("evil", url(server::serve(Evil).await)), ("good", url(server::serve(Evil).await))]
}

/// A broker before these servers, for the agents `bot` and `ann-bot`; `more`: other tables of its configuration.
pub async fn broker(more: &str) -> Broker {
    Broker::start(&servers().await, &["bot", "ann-bot"], more).await
}

/// `story` happens; meanwhile calls of another agent at another server are answered in time, and the broker
/// takes at most `room` MiB more.
pub async fn beside<T>(broker: &Broker, room: usize, story: impl Future<Output = T>) -> T {
    good(broker, 0).await;
    let before = broker.rest_memory();
    let others = async {
        for n in 1.. {
            good(broker, n).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let told = tokio::select! {
        told = story => told,
        () = others => unreachable!("it goes on for ever"),
    };
    good(broker, 0).await;
    let grown = broker.peak_memory().saturating_sub(before);
    assert!(grown <= room, "it took {grown} MiB more than its {before} MiB, over {room}");
    told
}

/// A call that has nothing to do with the story.
async fn good(broker: &Broker, n: usize) {
    let asked = Instant::now();
    let marker = format!("good-{n}");
    let reply = broker.agent("ann-bot", "good").call("say_fine", &marker).await.unwrap();
    assert_eq!(broker::text(&reply), format!("ran {marker}"), "{reply:?}");
    assert!(asked.elapsed() < Duration::from_secs(5), "it waited for another: {:?}", asked.elapsed());
}
