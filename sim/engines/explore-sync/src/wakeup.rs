//! Wakeup trees: which beginnings are still to be explored from a state, kept so that none of them is equivalent to
//! another, and so that each leads to a trace of its own.
//!
//! A list of branches hangs on each state on the path of the search. A sequence `v` is inserted along the first branches
//! that it can begin with: a branch is its *initial* if nothing of `v` must come before it; a branch that is not in `v` will
//! do as well if it conflicts with nothing in `v`. What is left of `v` at the end becomes a branch of its own; if nothing is
//! left, or a leaf is reached, somebody explores it already.

use crate::clock::Clock;
use crate::op::Op;

/// No branch.
pub(crate) const NONE: u32 = u32::MAX;

/// An event of a sequence to be inserted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) task: u8,
    pub(crate) op: Op,
    /// Of the event itself.
    pub(crate) clock: Clock,
    /// What must come before it.
    pub(crate) past: Clock,
}

/// True if nothing in front of `v[at]` must stay in front of it.
pub(crate) fn is_initial(v: &[Step], at: usize) -> bool {
    let step = &v[at];
    v[..at].iter().all(|earlier| {
        !step.past.knows(usize::from(earlier.task), &earlier.clock)
            && !earlier.op.conflicts(&step.op)
    })
}

/// True if an operation of a task that is not in `v` commutes with all of it.
pub(crate) fn is_independent(v: &[Step], op: &Op) -> bool {
    v.iter().all(|step| !step.op.conflicts(op))
}

#[derive(Clone, Copy, Debug)]
struct Node {
    task: u8,
    op: Op,
    first: u32,
    next: u32,
}

/// A branch taken from a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Branch {
    pub(crate) task: usize,
    pub(crate) op: Op,
    /// The list of what follows it.
    pub(crate) below: u32,
}

/// All wakeup trees of a search. A list is the number of its first node.
#[derive(Debug, Default)]
pub(crate) struct Forest {
    nodes: Vec<Node>,
    free: Vec<u32>,
}

impl Forest {
    fn add(&mut self, node: Node) -> u32 {
        match self.free.pop() {
            Some(at) => {
                self.nodes[at as usize] = node;
                at
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() as u32 - 1
            }
        }
    }

    /// Takes the first branch out of a list.
    pub(crate) fn take(&mut self, list: &mut u32) -> Option<Branch> {
        let node = *self.nodes.get(*list as usize)?;
        self.free.push(*list);
        *list = node.next;
        Some(Branch {
            task: usize::from(node.task),
            op: node.op,
            below: node.first,
        })
    }

    /// Puts a branch of one step in front of a list.
    pub(crate) fn push(&mut self, list: &mut u32, task: usize, op: Op) {
        *list = self.add(Node {
            task: task as u8,
            op,
            first: NONE,
            next: *list,
        });
    }

    /// Inserts `v`, which is used up. False if somebody explores it already.
    pub(crate) fn insert(&mut self, list: &mut u32, v: &mut Vec<Step>) -> bool {
        let (mut parent, mut first) = (NONE, *list);
        let last = loop {
            let (mut at, mut last) = (first, NONE);
            while at != NONE && !self.leads_to(at, v) {
                last = at;
                at = self.nodes[at as usize].next;
            }
            if at == NONE {
                break last;
            }
            (parent, first) = (at, self.nodes[at as usize].first);
            if first == NONE || v.is_empty() {
                return false;
            }
        };
        let mut head = NONE;
        for step in v.iter().rev() {
            head = self.add(Node {
                task: step.task,
                op: step.op,
                first: head,
                next: NONE,
            });
        }
        if last != NONE {
            self.nodes[last as usize].next = head;
        } else if parent != NONE {
            self.nodes[parent as usize].first = head;
        } else {
            *list = head;
        }
        true
    }

    /// True if `v` may begin with this branch. Takes it out of `v`.
    fn leads_to(&self, at: u32, v: &mut Vec<Step>) -> bool {
        let node = &self.nodes[at as usize];
        match v.iter().position(|step| step.task == node.task) {
            Some(index) => {
                let initial = is_initial(v, index);
                if initial {
                    v.remove(index);
                }
                initial
            }
            None => is_independent(v, &node.op),
        }
    }
}
