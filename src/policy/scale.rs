//! Weighs one call: every rule that could concern it is looked at, the heaviest finding wins.

use std::cell::OnceCell;

use super::document::{Action, Default, Limit, Rule, Section};
use super::explain::{Look, Looks};
use super::matcher::{Answer, Condition, Quantity, all_match};
use super::strict::Strict;
use super::tree::{self, Comments, Node, Value};
use super::{Evaluation, Facts, Policy, Reservation, Scope};
use crate::call::{Reason, Verdict};

/// `looks` collects, when asked for, every rule looked at.
pub(super) fn weigh(policies: &[&Policy], facts: &Facts<'_>, looks: Option<&mut Looks>) -> Evaluation {
    let mut scale = Scale {
        facts,
        arguments: OnceCell::new(),
        policy: "",
        strictest: None,
        strict: Strict::default(),
        reservations: Vec::new(),
        looks,
    };
    for policy in policies {
        scale.policy(policy);
    }
    scale.evaluation()
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Weight {
    Allow,
    Review,
    Deny,
    Hide,
}

/// Whether a rule tightens by matching or by not matching, and how far.
#[derive(Clone, Copy)]
enum Sort {
    Require,
    DenyIf,
    ApproveIf,
}

/// What was found so far.
struct Scale<'a, 'l> {
    facts: &'a Facts<'a>,
    arguments: OnceCell<Result<Node, String>>,
    /// Name of the policy being looked at.
    policy: &'a str,
    /// The first of the heaviest.
    strictest: Option<(Weight, Reason)>,
    strict: Strict,
    reservations: Vec<Reservation>,
    looks: Option<&'l mut Looks>,
}

impl<'a> Scale<'a, '_> {
    fn policy(&mut self, policy: &'a Policy) {
        self.policy = &policy.name;
        let Facts { server, tool, .. } = *self.facts;
        let mut listed = false;
        if policy.hide.contains(server, tool) {
            self.look("(hidden)", "matched", || format!("`hide` names {tool}"));
            self.found(Weight::Hide, "(hidden)", String::new());
            listed = true;
        }
        for section in policy.tools.matching(server, tool) {
            listed = true;
            self.action(section);
            self.section(section);
        }
        if !listed {
            self.unlisted(policy.default);
        }
        self.section(&policy.tools.everywhere);
    }

    fn unlisted(&mut self, default: Default) {
        let tool = self.facts.tool;
        let (weight, rule, text) = match default {
            Default::Allow => (Weight::Allow, "(default allow)", String::new()),
            Default::Deny => (Weight::Deny, "(default deny)", format!("{tool} is not in the policy")),
            Default::Review => {
                (Weight::Review, "(default require_approval)", format!("{tool} is not in the policy"))
            }
        };
        self.look(rule, "matched", || format!("no section names {tool}"));
        self.found(weight, rule, text);
    }

    fn action(&mut self, section: &Section) {
        let Some(action) = section.action else {
            self.look(&section.pointer, "matched", || "listed: allowed unless a rule says otherwise".into());
            return self.found(Weight::Allow, &section.pointer, String::new());
        };
        let tool = self.facts.tool;
        let (weight, word, otherwise) = match action {
            Action::Allow => (Weight::Allow, "allow", String::new()),
            Action::Deny => (Weight::Deny, "deny", format!("{tool} is denied by the policy")),
            Action::Hide => (Weight::Hide, "hide", String::new()),
            Action::Review => (Weight::Review, "require_approval", format!("{tool} needs an approval")),
        };
        let rule = format!("{}/action", section.pointer);
        self.look(&rule, "matched", || format!("action {word}"));
        // `(hidden)` is the id of every way to hide: the ledger's readers look for one word.
        let rule = if action == Action::Hide { "(hidden)" } else { &rule };
        self.found(weight, rule, section.reason.clone().unwrap_or(otherwise));
    }

    fn section(&mut self, section: &Section) {
        self.strict.add(&section.approval);
        for rule in &section.require {
            self.rule(rule, Sort::Require);
        }
        for rule in &section.deny_if {
            self.rule(rule, Sort::DenyIf);
        }
        for rule in &section.approve_if {
            self.rule(rule, Sort::ApproveIf);
        }
        for limit in &section.limits {
            self.limit(limit);
        }
    }

    fn rule(&mut self, rule: &Rule, sort: Sort) {
        let quantity = match sort {
            Sort::Require => Quantity::Every,
            Sort::DenyIf | Sort::ApproveIf => Quantity::Any,
        };
        let answer = self.answer(&rule.conditions, quantity);
        self.look_rule(rule, sort, &answer);
        let (tightens, weight) = match sort {
            Sort::Require => (answer != Ok(true), Weight::Deny),
            Sort::DenyIf => (answer != Ok(false), Weight::Deny),
            Sort::ApproveIf => (answer != Ok(false), Weight::Review),
        };
        if !tightens {
            return;
        }
        let text = rule.text.clone().unwrap_or_else(|| match sort {
            Sort::Require => format!("{} requires {}", self.facts.tool, words(&rule.conditions)),
            Sort::DenyIf => {
                format!("{} is denied by the policy when {}", self.facts.tool, words(&rule.conditions))
            }
            Sort::ApproveIf => {
                format!("{} needs an approval when {}", self.facts.tool, words(&rule.conditions))
            }
        });
        let text = match answer {
            Ok(_) => text,
            Err(fault) => format!("{text} (could not be checked: {fault})"),
        };
        self.found(weight, &rule.id, text);
    }

    fn answer(&self, conditions: &[Condition], quantity: Quantity) -> Answer {
        if conditions.is_empty() {
            return Ok(true);
        }
        match self.arguments() {
            Ok(arguments) => all_match(conditions, arguments, quantity),
            Err(fault) => Err(fault.clone()),
        }
    }

    fn arguments(&self) -> &Result<Node, String> {
        self.arguments.get_or_init(|| {
            if self.facts.arguments.is_empty() {
                return Ok(Node { at: 0, end: 0, value: Value::Object(Vec::new()) });
            }
            let text = std::str::from_utf8(self.facts.arguments)
                .map_err(|_| "the arguments are not UTF-8".to_owned())?;
            tree::read(text, Comments::Refused).map_err(|fault| format!("the arguments: {}", fault.message))
        })
    }

    fn limit(&mut self, limit: &Limit) {
        // A condition that cannot be answered counts: a limit may only tighten.
        if self.answer(&limit.conditions, Quantity::Any) == Ok(false) {
            return self
                .look(&limit.id, "does not count", || format!("counts when {}", words(&limit.conditions)));
        }
        let amount = match &limit.increment_from {
            None => Ok(1.0),
            Some(path) => self.arguments().as_ref().map_err(Clone::clone).and_then(|arguments| {
                match path.find(arguments).values.as_slice() {
                    [Value::Number(text)] => text.parse::<f64>().map_err(|error| error.to_string()),
                    _ => Err(format!("{} is not one number", path.text)),
                }
            }),
        };
        let amount = amount.and_then(|amount| {
            let fault = || "the amount is negative or beyond reason".to_owned();
            (amount.is_finite() && amount >= 0.0).then_some(amount).ok_or_else(fault)
        });
        self.look(&limit.id, if amount.is_ok() { "counts" } else { "could not be counted" }, || {
            format!("at most {} in {} of {}", limit.max, limit.window, limit.counter)
        });
        match amount {
            Ok(amount) => {
                let reservation = self.reservation(limit, amount);
                self.reservations.push(reservation);
            }
            Err(fault) => {
                let weight = if limit.on_limit_review { Weight::Review } else { Weight::Deny };
                let text = limit.text.clone().unwrap_or_else(|| "limited".into());
                self.found(weight, &limit.id, format!("{text} (could not be counted: {fault})"));
            }
        }
    }

    fn reservation(&self, limit: &Limit, amount: f64) -> Reservation {
        let Facts { agent, server, session, .. } = *self.facts;
        let counter = &limit.counter;
        Reservation {
            counter: match (limit.scope, session) {
                (Scope::Session, Some(session)) => format!("{counter}|{agent}#{session}"),
                (Scope::Grant | Scope::Agent | Scope::Session, _) => format!("{counter}|{agent}"),
                (Scope::Server, _) => format!("{counter}|server={server}"),
                (Scope::Global, _) => format!("{counter}|*"),
            },
            window: limit.window,
            max: limit.max,
            amount,
            rule: limit.id.clone(),
            on_deny: limit.text.clone(),
            on_limit_review: limit.on_limit_review,
            durable: limit.is_durable(),
        }
    }

    fn found(&mut self, weight: Weight, rule: &str, text: String) {
        if let Some(looks) = &mut self.looks {
            looks.found.push(rule.to_owned());
        }
        if self.strictest.as_ref().is_none_or(|(strictest, _)| weight > *strictest) {
            self.strictest = Some((weight, Reason { rule: rule.to_owned(), text }));
        }
    }

    fn look(&mut self, rule: &str, outcome: &str, words: impl FnOnce() -> String) {
        if let Some(looks) = &mut self.looks {
            looks.all.push(Look {
                policy: self.policy.to_owned(),
                rule: rule.to_owned(),
                words: words(),
                outcome: outcome.to_owned(),
            });
        }
    }

    fn look_rule(&mut self, rule: &Rule, sort: Sort, answer: &Answer) {
        if self.looks.is_none() {
            return;
        }
        let (verb, yes, no) = match sort {
            Sort::Require => ("requires", "holds", "does not hold: denied"),
            Sort::DenyIf => ("denies when", "matched: denied", "did not match"),
            Sort::ApproveIf => ("asks when", "matched: needs an approval", "did not match"),
        };
        let outcome = match answer {
            Ok(true) => yes.to_owned(),
            Ok(false) => no.to_owned(),
            Err(fault) => format!("could not be checked, so it tightens: {fault}"),
        };
        self.look(&rule.id, &outcome, || format!("{verb} {}", words(&rule.conditions)));
    }

    fn evaluation(self) -> Evaluation {
        let Some((weight, reason)) = self.strictest else {
            let reason =
                Reason { rule: "(no policy)".into(), text: "no policy applies to this agent".into() };
            return Evaluation { verdict: Verdict::Deny { reason }, reservations: Vec::new() };
        };
        let (verdict, runs) = match weight {
            Weight::Allow => (Verdict::Allow { rule: reason.rule }, true),
            Weight::Review => (Verdict::Review { terms: self.strict.terms(reason) }, true),
            Weight::Deny => (Verdict::Deny { reason }, false),
            Weight::Hide => (Verdict::Hide { rule: reason.rule }, false),
        };
        let reservations = if runs { self.reservations } else { Vec::new() };
        Evaluation { verdict, reservations }
    }
}

fn words(conditions: &[Condition]) -> String {
    if conditions.is_empty() {
        return "always".into();
    }
    let conditions: Vec<String> = conditions.iter().map(Condition::words).collect();
    conditions.join(" and ")
}
