//! Which task runs, what each has announced, and who holds which lock.
//!
//! * Outside of a race nothing is announced: set-up and what follows a race are plain code of one thread.
//! * An object is named by who made it and by the how many-th of his it is, so that it has the same name in each execution.

use crate::clock::MAX_TASKS;
use crate::coroutine;
use crate::op::{Access, ObjectId, Op};
use std::cell::{Cell, RefCell};

/// Nobody's event: nothing was ever released.
pub(crate) const NEVER: u32 = u32::MAX;
/// The number of who is no task.
const OUTSIDE: usize = MAX_TASKS;

/// A lock, or something else that has a name.
#[derive(Clone, Copy, Debug)]
struct Slot {
    held: bool,
    /// The event with which it was last released.
    released: u32,
}

std::thread_local! {
    static CURRENT: Cell<usize> = const { Cell::new(OUTSIDE) };
    static PENDING: [Cell<Op>; MAX_TASKS] = const { [const { Cell::new(Op::NONE) }; MAX_TASKS] };
    /// Number of the event that is going on.
    static EVENT: Cell<u32> = const { Cell::new(0) };
    static SLOTS: RefCell<[Vec<Slot>; MAX_TASKS + 1]> =
        const { RefCell::new([const { Vec::new() }; MAX_TASKS + 1]) };
    /// The tasks are being unwound: nothing is announced any more.
    static ENDING: Cell<bool> = const { Cell::new(false) };
}

/// A new execution begins: no object has been made.
pub(crate) fn restart() {
    SLOTS.with(|slots| slots.borrow_mut().iter_mut().for_each(Vec::clear));
    CURRENT.set(OUTSIDE);
    ENDING.set(false);
}

/// From now on nothing is announced, since the tasks are only unwound.
pub(crate) fn unwinding(ending: bool) {
    ENDING.set(ending);
}

/// The task that runs; [`MAX_TASKS`] if none does.
#[inline]
pub(crate) fn current() -> usize {
    CURRENT.get()
}

/// Says who runs, and which event its going on is.
#[inline]
pub(crate) fn enter(task: usize, event: u32) {
    CURRENT.set(task);
    EVENT.set(event);
}

/// No task runs.
#[inline]
pub(crate) fn leave() {
    CURRENT.set(OUTSIDE);
}

/// What a task has announced.
#[inline]
pub(crate) fn pending(task: usize) -> Op {
    PENDING.with(|pending| pending[task].get())
}

/// True if what was announced can happen now.
#[inline]
pub(crate) fn is_possible(op: &Op) -> bool {
    op.access != Access::Lock || !with_slot(op.object, |slot| slot.held)
}

/// The event with which a lock was last released, or [`NEVER`].
#[inline]
pub(crate) fn released(object: ObjectId) -> u32 {
    with_slot(object, |slot| slot.released)
}

fn with_slot<T>(object: ObjectId, f: impl FnOnce(&mut Slot) -> T) -> T {
    SLOTS.with(|slots| {
        let mut slots = slots.borrow_mut();
        f(&mut slots[usize::from(object.maker)][usize::from(object.number)])
    })
}

/// The task that runs says what it will do, and waits until it may. Nothing outside of a race.
#[inline]
pub(crate) fn announce(op: Op) {
    let task = CURRENT.get();
    if task == OUTSIDE || ENDING.get() {
        return;
    }
    PENDING.with(|pending| pending[task].set(op));
    coroutine::suspend(task);
}

/// A lock was taken.
#[inline]
pub(crate) fn acquired(object: ObjectId) {
    if CURRENT.get() != OUTSIDE && !ENDING.get() {
        with_slot(object, |slot| slot.held = true);
    }
}

/// A lock was released.
#[inline]
pub(crate) fn release(object: ObjectId) {
    if CURRENT.get() != OUTSIDE && !ENDING.get() {
        let event = EVENT.get();
        with_slot(object, |slot| {
            slot.held = false;
            slot.released = event;
        });
    }
}

/// Something that tasks share. Make it anew in each execution.
#[derive(Debug)]
pub struct Object(pub(crate) ObjectId);

impl Object {
    /// A new one.
    ///
    /// # Panics
    /// If an execution makes more than 65,535 of them.
    #[must_use]
    pub fn new() -> Object {
        let maker = CURRENT.get();
        SLOTS.with(|slots| {
            let slots = &mut slots.borrow_mut()[maker];
            let number = u16::try_from(slots.len()).expect("few objects");
            slots.push(Slot {
                held: false,
                released: NEVER,
            });
            Object(ObjectId {
                maker: maker as u16,
                number,
            })
        })
    }

    /// The task that runs is about to touch the places `from..to` of it. Returns when it may. For events that are
    /// neither locks nor atomics: I/O on a range of a file.
    pub fn touch(&self, access: Access, from: u32, to: u32) {
        self.touch_with(access, from, to, None);
    }

    /// The same, and in the same event it does something to what the object has beside its places.
    pub fn touch_with(&self, access: Access, from: u32, to: u32, aside: Option<Access>) {
        announce(Op {
            object: self.0,
            access,
            from,
            to,
            aside,
        });
    }

    /// The same for all of it.
    pub(crate) fn announce(&self, access: Access) {
        announce(Op::of(self.0, access));
    }
}

impl Default for Object {
    fn default() -> Object {
        Object::new()
    }
}
