//! The clients of a scenario: a thread each, on the processor of its queue. A client does one operation at a time.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use model::op::Op;
use ploop_core::Origin;
use rustix::io::Errno;

use super::super::buffer::Buffer;
use super::super::judge::Judge;
use super::super::sys;
use super::super::target::{SECTOR, Target};
use super::super::trouble::Trouble;

type Answer = Result<Result<(), Errno>, Trouble>;

struct Client {
    orders: Sender<(Arc<Target>, Op)>,
    answers: Receiver<Answer>,
    busy: bool,
    /// How the last one ended.
    last: Option<Result<(), Errno>>,
}

/// See the module.
pub(super) struct Clients {
    judge: Arc<Judge>,
    all: BTreeMap<(u16, u16), Client>,
}

/// The first processor whose requests go to this queue of a device.
fn processor(device: &Path, queue: u16) -> usize {
    let name = device.file_name().unwrap_or_default().to_string_lossy();
    let list = std::fs::read_to_string(format!("/sys/block/{name}/mq/{queue}/cpu_list"))
        .unwrap_or_default();
    let first = list.split([',', '-']).next().unwrap_or("");
    first.trim().parse().unwrap_or(usize::from(queue))
}

impl Clients {
    /// Nobody yet.
    pub(super) fn new(judge: Arc<Judge>) -> Clients {
        Clients {
            judge,
            all: BTreeMap::new(),
        }
    }

    /// A client begins an operation, after its last one.
    pub(super) fn submit(
        &mut self,
        device: &Path,
        target: &Arc<Target>,
        from: Origin,
        op: Op,
    ) -> Result<(), Trouble> {
        self.wait(from)?;
        let judge = &self.judge;
        let key = (from.queue.0, from.tag.0);
        let client = self.all.entry(key).or_insert_with(|| {
            let (orders, inbox) = channel::<(Arc<Target>, Op)>();
            let (outbox, answers) = channel();
            let (judge, processor) = (Arc::clone(judge), processor(device, from.queue.0));
            std::thread::spawn(move || {
                sys::pin(processor);
                for (target, op) in inbox {
                    let mut buffer = Buffer::new((op.len * SECTOR) as usize);
                    let answer = judge.perform(&target, op, &mut buffer);
                    drop(target);
                    if outbox.send(answer).is_err() {
                        break;
                    }
                }
            });
            Client {
                orders,
                answers,
                busy: false,
                last: None,
            }
        });
        client.busy = true;
        let sent = client.orders.send((Arc::clone(target), op));
        sent.map_err(|_| "a client is gone".into())
    }

    /// Waits for a client's operation. How its last one ended.
    pub(super) fn wait(&mut self, from: Origin) -> Result<Option<Result<(), Errno>>, Trouble> {
        match self.all.get_mut(&(from.queue.0, from.tag.0)) {
            None => Ok(None),
            Some(client) => {
                client.wait()?;
                Ok(client.last)
            }
        }
    }

    /// Waits for all of them.
    pub(super) fn settle(&mut self) -> Result<(), Trouble> {
        self.all.values_mut().try_for_each(Client::wait)
    }
}

impl Client {
    fn wait(&mut self) -> Result<(), Trouble> {
        if self.busy {
            let answer = self.answers.recv().map_err(|_| "a client died")?;
            self.busy = false;
            self.last = Some(answer?);
        }
        Ok(())
    }
}
