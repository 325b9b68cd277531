//! How the server itself saw the storm, from its control socket: once a second, by a thread that the machines never wait
//! for.

use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ripple_tftpd::moment::Moment;
use ripple_tftpd::os::clock::Clock;
use ripple_tftpd::os::local::ask;
use serde_json::{Value, json};

/// What it said.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerView {
    pub(crate) samples: Vec<Sample>,
    /// The whole of the first and the last answer.
    first: Value,
    last: Value,
}

/// What it said once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) at: Moment,
    pub(crate) running: u64,
    pub(crate) waiting: u64,
}

/// The thread that asks.
pub(crate) struct Watcher {
    stop: Sender<()>,
    thread: JoinHandle<ServerView>,
}

impl Watcher {
    /// Asks once, and then once a second.
    ///
    /// # Errors
    /// Nobody answers.
    pub(crate) fn start(path: &Path, clock: Clock) -> Result<Watcher, String> {
        let mut view = ServerView::default();
        view.look(path, clock.now())
            .map_err(|error| format!("--control {}: {error}", path.display()))?;
        let (stop, stopped) = channel();
        let path = path.to_owned();
        let thread = thread::spawn(move || {
            while stopped.recv_timeout(EVERY).is_err() {
                // A server that is busy or gone is asked again.
                let _ = view.look(&path, clock.now());
            }
            let _ = view.look(&path, clock.now());
            view
        });
        Ok(Watcher { stop, thread })
    }

    /// What it said, the end included.
    pub(crate) fn stop(self) -> ServerView {
        let _ = self.stop.send(());
        self.thread.join().unwrap_or_default()
    }
}

impl ServerView {
    fn look(&mut self, path: &Path, at: Moment) -> Result<(), String> {
        let text = ask(path, "/status").map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let number = |name: &str| answer[name].as_u64().unwrap_or(0);
        if self.samples.len() < SAMPLES_MAX {
            self.samples.push(Sample {
                at,
                running: number("running"),
                waiting: number("pending") + number("held"),
            });
        }
        if self.first.is_null() {
            self.first = answer.clone();
        }
        self.last = answer;
        Ok(())
    }

    /// How much a counter grew.
    pub(crate) fn grown(&self, counter: &str) -> u64 {
        let number = |of: &Value| of[counter].as_u64().unwrap_or(0);
        number(&self.last).saturating_sub(number(&self.first))
    }

    pub(crate) fn slots(&self) -> u64 {
        self.last["slots"].as_u64().unwrap_or(0)
    }

    pub(crate) fn most_running(&self) -> u64 {
        self.samples.iter().map(|it| it.running).max().unwrap_or(0)
    }

    pub(crate) fn most_waiting(&self) -> u64 {
        self.samples.iter().map(|it| it.waiting).max().unwrap_or(0)
    }

    pub(crate) fn json(&self) -> Value {
        let samples = self.samples.iter().map(|sample| {
            let seconds = sample.at.since(Moment::START).as_secs_f64();
            json!({ "at": seconds, "running": sample.running, "waiting": sample.waiting })
        });
        json!({
            "slots": self.slots(),
            "most_running": self.most_running(),
            "most_waiting": self.most_waiting(),
            "complete": self.grown("complete"),
            "failed": self.grown("failed"),
            "refused": self.grown("refused"),
            "dropped": self.grown("dropped"),
            "repeats": self.grown("repeats"),
            "retransmissions": self.grown("retransmissions"),
            "sent_datagrams": self.grown("sent_datagrams"),
            "samples": samples.collect::<Vec<Value>>(),
        })
    }
}

const EVERY: Duration = Duration::from_secs(1);
/// An hour.
const SAMPLES_MAX: usize = 3_600;
