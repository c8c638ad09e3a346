//! The word behind `--engine`.

use crate::search::Engine;
use std::fmt;
use std::str::FromStr;

const LIBFUZZER: &str = "libfuzzer";

/// Who chooses the runs: an engine of ours, or `None`: libFuzzer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chooser(pub(super) Option<Engine>);

impl Default for Chooser {
    fn default() -> Chooser {
        Chooser(Some(Engine::default()))
    }
}

impl FromStr for Chooser {
    type Err = String;

    fn from_str(name: &str) -> Result<Chooser, String> {
        match name {
            LIBFUZZER => Ok(Chooser(None)),
            name => name
                .parse()
                .map(|engine| Chooser(Some(engine)))
                .map_err(|problem: String| {
                    problem.replace(" or portfolio", ", portfolio or libfuzzer")
                }),
        }
    }
}

impl fmt::Display for Chooser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(engine) => engine.fmt(f),
            None => f.write_str(LIBFUZZER),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_ours_or_libfuzzer() {
        for engine in Engine::ALL {
            let chooser: Chooser = engine.name().parse().expect("ours");
            assert_eq!(
                (chooser.0, chooser.to_string()),
                (Some(engine), engine.to_string())
            );
        }
        let other: Chooser = LIBFUZZER.parse().expect("theirs");
        assert_eq!((other.0, other.to_string()), (None, LIBFUZZER.to_owned()));
        let refused = "afl".parse::<Chooser>().expect_err("neither");
        assert!(
            refused.ends_with("fuzz, portfolio or libfuzzer"),
            "{refused}"
        );
    }
}
