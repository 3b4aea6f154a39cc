//! Start and end of a broker: which boot this is, what the one before left behind, and a clean drain.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use arc_swap::ArcSwap;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Broker, Clock, Inner, Rules, Settings,
    counters::Counted,
    deadlines::Deadlines,
    follows,
    legs::{self, Legs},
    parked::Parked,
    reconsider::Reconsidered,
    repeats::Repeats,
    seal::Seal,
    seats::Seats,
    segments::segments,
    server_tasks,
    stops::Stops,
    ways::Ways,
};
use crate::{
    call::{Call, Replica, StateName},
    identity::Identity,
    ledger::{BrokerEvent, Fact, Stream},
    store::{Batch, Filter, Store, StoreError, Write},
    telemetry::Metrics,
    upstream::Upstreams,
};

/// What a broker is made of.
pub struct Parts {
    pub store: Arc<dyn Store>,
    pub identity: Arc<Identity>,
    pub upstreams: Upstreams,
    pub clock: Arc<dyn Clock>,
    pub settings: Settings,
    /// The key of the join fingerprints, kept beside the store.
    pub fingerprint_key: [u8; 32],
    pub metrics: Arc<Metrics>,
}

impl Broker {
    /// Takes the store's next epoch, tidies up after the boot before, and starts the timers.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub async fn start(parts: Parts) -> Result<Self, StoreError> {
        let Parts { store, identity, upstreams, clock, settings, fingerprint_key, metrics } = parts;
        let (epoch, clean) = last_boot(&*store).await?;
        let replica = Replica { name: settings.replica.clone(), epoch: epoch + 1 };
        let (queue, gatherer) = segments();
        let stops = load_stops(&*store).await?;
        let rules = Rules { version: store.version(Stream::Policies).await?, ..Rules::default() };
        let seal = Seal::new(&fingerprint_key);
        let counted = Counted::after(*store.head().borrow());
        follows::forget_old(&*store, clock.now()).await?;
        legs::forget_old(&*store, &seal, clock.now()).await?;
        let owners = server_tasks::remembered(&*store, clock.now()).await?;
        let inner = Arc::new_cyclic(|me| Inner {
            me: me.clone(),
            stops: ArcSwap::from_pointee(stops),
            stops_moved: tokio::sync::watch::Sender::default(),
            rules: ArcSwap::from_pointee(rules),
            limits: Mutex::default(),
            counted,
            seats: Seats::default(),
            parked: Parked::default(),
            deadlines: Deadlines::default(),
            reconsidered: Reconsidered::default(),
            repeats: Repeats::default(),
            seal,
            legs: Legs::default(),
            ways: Ways::default(),
            owners,
            serves_tasks: AtomicBool::new(false),
            segments: queue,
            metrics,
            open: AtomicBool::new(true),
            dispatching: AtomicUsize::new(0),
            tasks: TaskTracker::new(),
            ending: CancellationToken::new(),
            store,
            identity,
            upstreams,
            clock,
            settings,
            replica,
            fingerprint_key,
        });
        inner.announce(clean).await?;
        let broker = Self { inner };
        let ending = &broker.inner.ending;
        broker.inner.tasks.spawn(gatherer.run(Arc::clone(&broker.inner), ending.clone()));
        let lost = broker.inner.take_over().await?;
        if !lost.is_empty() {
            tracing::warn!("{}", unclean_end(&lost, &broker.inner.settings.public_url));
        }
        broker.inner.tasks.spawn(broker.clone().keep_deadlines(ending.clone()));
        Ok(broker)
    }

    /// Ends cleanly: what is dispatched finishes (bounded), allowed calls are written, the end is on the
    /// ledger. The doors must have stopped accepting before.
    pub async fn drain(&self, patience: std::time::Duration) {
        let inner = &self.inner;
        let wait_for_calls = async {
            while inner.seats.any() || inner.dispatching.load(Ordering::SeqCst) > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        let finished = tokio::time::timeout(patience, wait_for_calls).await.is_ok();
        inner.ending.cancel();
        inner.tasks.close();
        let tasks_ended = tokio::time::timeout(patience, inner.tasks.wait()).await.is_ok();
        if !(finished && tasks_ended) {
            tracing::warn!("the drain ended before every call did");
        }
        let drained = BrokerEvent::Drained { epoch: inner.replica.epoch };
        if let Err(error) = inner.append_broker(vec![drained]).await {
            tracing::error!(%error, "the end could not be recorded");
        }
    }

    /// Which policies are in force; they judge every call from now on, at its claim too.
    ///
    /// # Errors
    /// The ledger cannot be read or written.
    pub async fn set_rules(
        &self,
        mut rules: Rules,
        facts: Vec<crate::ledger::PolicyEvent>,
    ) -> Result<(), StoreError> {
        self.inner.count_earlier(&rules).await?;
        let before = self.inner.rules.load().version;
        rules.version = before + facts.len() as u64;
        if !facts.is_empty() {
            let facts = facts.into_iter().map(Fact::Policy).collect();
            let write =
                Write { stream: Stream::Policies, expected: Some(before), facts, call: None, deadline: None };
            let batch = Batch { at: self.inner.clock.now(), writes: vec![write], ..Batch::default() };
            self.inner.append(batch).await?;
        }
        self.inner.rules.store(Arc::new(rules));
        Ok(())
    }

    /// Records what became of policies without putting any into force.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub async fn note_policies(&self, facts: Vec<crate::ledger::PolicyEvent>) -> Result<(), StoreError> {
        let mut rules = self.inner.rules.load_full();
        let facts: Vec<Fact> = facts.into_iter().map(Fact::Policy).collect();
        let write = Write {
            stream: Stream::Policies,
            expected: Some(rules.version),
            facts,
            call: None,
            deadline: None,
        };
        let grown = write.facts.len() as u64;
        let batch = Batch { at: self.inner.clock.now(), writes: vec![write], ..Batch::default() };
        self.inner.append(batch).await?;
        Arc::make_mut(&mut rules).version += grown;
        self.inner.rules.store(rules);
        Ok(())
    }

    /// Records facts about servers.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub async fn note_servers(&self, facts: Vec<crate::ledger::ServerEvent>) -> Result<(), StoreError> {
        let facts = facts.into_iter().map(Fact::Server).collect();
        let write = Write { stream: Stream::Servers, expected: None, facts, call: None, deadline: None };
        let batch = Batch { at: self.inner.clock.now(), writes: vec![write], ..Batch::default() };
        self.inner.append(batch).await.map(|_| ())
    }
}

impl Inner {
    async fn announce(&self, clean: bool) -> Result<(), StoreError> {
        let Replica { name, epoch } = self.replica.clone();
        let mut facts = Vec::new();
        if !clean {
            facts.push(BrokerEvent::UncleanStart { epoch });
        }
        let version = env!("CARGO_PKG_VERSION").into();
        facts.push(BrokerEvent::Started { replica: name, epoch, version });
        self.append_broker(facts).await
    }

    async fn append_broker(&self, facts: Vec<BrokerEvent>) -> Result<(), StoreError> {
        let facts = facts.into_iter().map(Fact::Broker).collect();
        let write = Write { stream: Stream::Broker, expected: None, facts, call: None, deadline: None };
        let batch = Batch { at: self.clock.now(), writes: vec![write], ..Batch::default() };
        self.append(batch).await.map(|_| ())
    }

    /// Every unsettled call of the boot before: what it sent is lost, who waited has left. Gives the codes of
    /// what was lost by that.
    async fn take_over(self: &Arc<Self>) -> Result<Vec<String>, StoreError> {
        let mut codes = Vec::new();
        // What was sent first: while it is not settled, a repeat would wait for an answer that cannot come.
        for states in [vec![StateName::Dispatched], vec![StateName::Pending, StateName::Permitted]] {
            let mut filter = Filter { states, limit: 200, ..Filter::default() };
            loop {
                let page = self.store.calls(filter.clone()).await?;
                for call in &page.calls {
                    self.parked.note(call);
                    self.repeats.note(call, self.settings.redelivery);
                    self.deadlines.note(call, &self.settings);
                }
                let left = |call: &Call| call.waiter.as_ref().is_some_and(|w| w.replica != self.replica);
                let due = |call: &&Call| left(call) || call.state.name() == StateName::Dispatched;
                let ids: Vec<_> = page.calls.iter().filter(due).map(|call| call.id).collect();
                self.tick_all(ids).await;
                let sent = page.calls.iter().filter(|call| call.state.name() == StateName::Dispatched);
                codes.extend(self.codes_of_lost(sent).await?);
                let Some(next) = page.next else { break };
                filter.after = Some(next);
            }
        }
        let mut lost = Filter { states: vec![StateName::Lost], limit: 200, ..Filter::default() };
        loop {
            let page = self.store.calls(lost.clone()).await?;
            page.calls.iter().for_each(|call| self.repeats.note(call, self.settings.redelivery));
            let Some(next) = page.next else { break };
            lost.after = Some(next);
        }
        let until = self.clock.now().plus(self.settings.redelivery);
        for [agent, server, tool] in self.store.tools().await? {
            self.repeats.expect((&agent, &server, &tool), until);
        }
        Ok(codes)
    }

    async fn codes_of_lost(&self, sent: impl Iterator<Item = &Call>) -> Result<Vec<String>, StoreError> {
        let mut codes = Vec::new();
        for call in sent {
            let now = self.store.call(call.id).await?;
            if now.is_some_and(|now| now.state.name() == StateName::Lost) {
                codes.push(call.digest.short_code().to_string());
            }
        }
        Ok(codes)
    }
}

/// The last epoch, and whether that boot ended cleanly.
async fn last_boot(store: &dyn Store) -> Result<(u64, bool), StoreError> {
    let last = store.last_boot().await?;
    Ok(last.map_or((0, true), |boot| (boot.epoch, boot.drained)))
}

async fn load_stops(store: &dyn Store) -> Result<Stops, StoreError> {
    let mut stops = Stops::default();
    for entry in store.stream(Stream::Stops).await? {
        if let Fact::Stop(event) = entry.fact {
            stops.apply(event);
        }
    }
    Ok(stops)
}

/// For the log: most of them by name, all of them by number.
fn unclean_end(lost: &[String], url: &str) -> String {
    const NAMED: usize = 20;
    let named = lost.get(..NAMED).unwrap_or(lost).join(", ");
    let more = if lost.len() > NAMED { ", …" } else { "" };
    let calls = if lost.len() == 1 { "call" } else { "calls" };
    format!("unclean end; {} {calls} lost: {named}{more}; look at {url}", lost.len())
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_unclean_end_names_what_it_lost() {
        let said = |n: usize| super::unclean_end(&vec!["ABC-DEF".to_owned(); n], "http://here");
        assert_eq!(said(1), "unclean end; 1 call lost: ABC-DEF; look at http://here");
        assert!(
            said(21).starts_with("unclean end; 21 calls lost: ABC-DEF, ") && said(21).contains(", …; look")
        );
    }
}
