//! What the word says that comes back with a completion.

/// Who a completion is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The front end; the number is its own.
    Front(u32),
    /// The I/O in this place of the flight table.
    Io(u32),
    /// The mailbox has mail.
    Mail,
    /// The time has come.
    Timer,
    /// Nobody: an event of another version of this program could not be here, so this is a bug.
    Unknown(u64),
}

const KIND: u32 = 32;

impl Event {
    /// As the word given with a request. Bit 63 is never set.
    #[must_use]
    pub const fn word(self) -> u64 {
        match self {
            Event::Front(number) => number as u64,
            Event::Io(place) => 1 << KIND | place as u64,
            Event::Mail => 2 << KIND,
            Event::Timer => 3 << KIND,
            Event::Unknown(word) => word,
        }
    }

    /// From the word that came back.
    #[must_use]
    pub const fn of(word: u64) -> Event {
        let number = word as u32;
        match (word >> KIND, number) {
            (0, _) => Event::Front(number),
            (1, _) => Event::Io(number),
            (2, 0) => Event::Mail,
            (3, 0) => Event::Timer,
            _ => Event::Unknown(word),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_as_what_they_were() {
        let events = [
            Event::Front(0),
            Event::Front(u32::MAX),
            Event::Io(0),
            Event::Io(u32::MAX),
            Event::Mail,
            Event::Timer,
        ];
        for (i, event) in events.into_iter().enumerate() {
            assert_eq!(Event::of(event.word()), event);
            assert_eq!(event.word() >> 63, 0);
            for other in &events[i + 1..] {
                assert_ne!(event.word(), other.word());
            }
        }
        assert_eq!(Event::of(9 << KIND), Event::Unknown(9 << KIND));
        assert_eq!(Event::of(2 << KIND | 1), Event::Unknown(2 << KIND | 1));
    }
}
