//! What waits for space, seen from outside: it is said so, it is tried again when told to, and given up when told to.

use ploop_core::units::{Millis, QueueId, Sector, Sectors, Tag};
use ploop_core::{
    ActionKind, Actions, Device, Failure, IoOp, NoSpace, Op, Options, Origin, Outcome, Request,
    Ticket, load,
};

use crate::sparse::{Picture, Sparse};

const ORIGIN: Origin = Origin {
    queue: QueueId(0),
    tag: Tag(0),
};

struct Rig {
    device: Device,
    out: Actions,
    ended: Vec<Result<(), Failure>>,
    /// Extensions that are under way.
    extensions: Vec<Ticket>,
}

impl Rig {
    fn new() -> Rig {
        let file = Sparse::image(Picture {
            version: Sparse::VERSION,
            cluster: 8,
            entries: 16,
            file: 8,
            slots: &[],
        });
        let delta = load::load(&file, "image").expect("a sound image");
        let retry = Millis(30);
        let options = Options {
            no_space: NoSpace::Wait { retry },
            prealloc: Sectors(8),
            ..Options::default()
        };
        Rig {
            device: Device::open(vec![delta], options).expect("opened"),
            out: Actions::new(),
            ended: Vec::new(),
            extensions: Vec::new(),
        }
    }

    /// Everything ends well but extensions, which are kept.
    fn settle(&mut self) {
        loop {
            self.device.turn(QueueId(0), &mut self.out);
            let actions: Vec<_> = self.out.drain().collect();
            if actions.is_empty() {
                return;
            }
            for action in actions {
                match action.kind {
                    ActionKind::Finish { outcome, .. } => self.ended.push(outcome),
                    ActionKind::Io { ticket, op } => match op {
                        IoOp::SetLen { .. } => self.extensions.push(ticket),
                        _ => self.device.complete(ticket, Outcome::Done, &mut self.out),
                    },
                }
            }
        }
    }

    fn write(&mut self) {
        let op = Op::Write {
            preflush: false,
            fua: false,
        };
        let (start, len) = (Sector(16), Sectors(2));
        let request = Request { op, start, len };
        self.device.submit(ORIGIN, request, &mut self.out);
        self.settle();
    }

    /// The extension under way finds no space.
    fn no_space(&mut self) {
        let ticket = self.extensions.pop().expect("an extension");
        let full = Outcome::Failed(Failure::NoSpace);
        self.device.complete(ticket, full, &mut self.out);
        self.settle();
    }
}

#[test]
fn it_is_tried_again_when_told_to() {
    let mut rig = Rig::new();
    assert!(!rig.device.is_starving(), "[progress] of what");
    rig.write();
    assert!(!rig.device.is_starving(), "[progress] it is under way");
    rig.no_space();
    assert!(
        rig.device.is_starving() && rig.device.has_deadline(),
        "[progress]"
    );
    assert!(
        rig.ended.is_empty() && rig.extensions.is_empty(),
        "[progress]"
    );
    rig.device.retry_starved(&mut rig.out);
    rig.settle();
    assert_eq!(rig.extensions.len(), 1, "[progress] it is not tried again");
    assert!(!rig.device.is_starving(), "[progress] it is under way");
    let ticket = rig.extensions.pop().expect("an extension");
    rig.device.complete(ticket, Outcome::Done, &mut rig.out);
    rig.settle();
    assert_eq!(rig.ended, [Ok(())], "[progress]");
}

#[test]
fn it_is_given_up_when_told_to() {
    let mut rig = Rig::new();
    rig.write();
    rig.no_space();
    rig.device.fail_starved(&mut rig.out);
    rig.settle();
    assert_eq!(rig.ended, [Err(Failure::NoSpace)], "[progress]");
    assert!(!rig.device.is_starving(), "[progress] for whom");
    // What finds no space later waits again.
    rig.write();
    rig.no_space();
    assert!(rig.device.is_starving(), "[progress]");
    assert_eq!(rig.ended.len(), 1, "[progress]");
}
