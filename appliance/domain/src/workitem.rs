//! A unified procedure step as a worklist holds it (PS3.4 annex CC): its states, and what may follow what.
//!
//! ```text
//!              claimed                concluded
//! Scheduled ------------> In progress ----------> Completed
//!     |                        \----------------> Canceled
//!     \--- cancellation asked for ------------------^
//! ```
//! Whoever claims it gives a transaction UID, and only who shows that UID may change it from then on.

use serde::{Deserialize, Serialize};

/// Where a workitem stands: Procedure Step State (0074,1000).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WorkitemState {
    /// Nobody has claimed it.
    #[serde(rename = "SCHEDULED")]
    Scheduled,
    /// Whoever claimed it works on it.
    #[serde(rename = "IN PROGRESS")]
    InProgress,
    /// It is done.
    #[serde(rename = "COMPLETED")]
    Completed,
    /// It will not be done.
    #[serde(rename = "CANCELED")]
    Canceled,
}

impl WorkitemState {
    /// Every one.
    pub const ALL: [Self; 4] = [
        Self::Scheduled,
        Self::InProgress,
        Self::Completed,
        Self::Canceled,
    ];

    /// Its name in DICOM.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "SCHEDULED",
            Self::InProgress => "IN PROGRESS",
            Self::Completed => "COMPLETED",
            Self::Canceled => "CANCELED",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name() == name)
    }

    /// Whether nothing can follow.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Canceled)
    }
}

/// What somebody who wants to change a workitem shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key<'k> {
    /// No transaction UID.
    None,
    /// This one.
    Shown(&'k str),
}

/// What a change of state comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is made.
    Made,
    /// It stands there already: a warning, and nothing changes.
    There,
}

/// Why a change of state is refused, by the status codes of PS3.4 table CC.2.1-2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StateRefusal {
    /// 0xC300
    #[error("the workitem may no longer be updated")]
    Ended,
    /// 0xC301
    #[error("the transaction UID is not the one that the workitem was claimed with")]
    WrongKey,
    /// 0xC302
    #[error("the workitem is already IN PROGRESS")]
    AlreadyInProgress,
    /// 0xC303
    #[error("a workitem becomes SCHEDULED by being created, and in no other way")]
    ToScheduled,
    /// 0xC304
    #[error("the workitem has not met its final state requirements")]
    NotFinal,
    /// 0xC310
    #[error("the workitem is not yet IN PROGRESS")]
    NotInProgress,
    /// 0xC311
    #[error("the workitem is already COMPLETED")]
    AlreadyCompleted,
}

impl StateRefusal {
    /// Its status code.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Ended => 0xC300,
            Self::WrongKey => 0xC301,
            Self::AlreadyInProgress => 0xC302,
            Self::ToScheduled => 0xC303,
            Self::NotFinal => 0xC304,
            Self::NotInProgress => 0xC310,
            Self::AlreadyCompleted => 0xC311,
        }
    }
}

/// Whether a workitem in state `from`, claimed with `held`, may go to state `to` (PS3.4 table CC.1.1-2). `is_complete` says
/// whether it has what it needs at its end.
///
/// # Errors
/// See [`StateRefusal`].
pub fn step(
    (from, to): (WorkitemState, WorkitemState),
    held: Option<&str>,
    shown: Key<'_>,
    is_complete: bool,
) -> Result<Step, StateRefusal> {
    use WorkitemState::{Canceled, Completed, InProgress, Scheduled};
    if to == Scheduled {
        return Err(StateRefusal::ToScheduled);
    }
    let Key::Shown(shown) = shown else {
        return Err(StateRefusal::WrongKey);
    };
    // Whoever claims it brings the key; from then on it must be that one.
    if from != Scheduled && held.is_some_and(|held| held != shown) {
        return Err(StateRefusal::WrongKey);
    }
    match (from, to) {
        (Scheduled, InProgress) => Ok(Step::Made),
        (InProgress, InProgress) => Err(StateRefusal::AlreadyInProgress),
        (Scheduled, Completed | Canceled) => Err(StateRefusal::NotInProgress),
        (InProgress, _) if is_complete => Ok(Step::Made),
        (InProgress, _) => Err(StateRefusal::NotFinal),
        (Completed, Completed) | (Canceled, Canceled) => Ok(Step::There),
        (Completed | Canceled, _) => Err(StateRefusal::Ended),
        (_, Scheduled) => Err(StateRefusal::ToScheduled),
    }
}

/// What a request for cancellation comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancellation {
    /// Nobody works on it: it is cancelled at once.
    AtOnce,
    /// Whoever works on it is told, and decides.
    Told,
    /// It is cancelled already: a warning.
    There,
}

/// What comes of a request for cancellation in that state.
///
/// # Errors
/// [`StateRefusal::AlreadyCompleted`].
pub const fn cancellation(state: WorkitemState) -> Result<Cancellation, StateRefusal> {
    match state {
        WorkitemState::Scheduled => Ok(Cancellation::AtOnce),
        WorkitemState::InProgress => Ok(Cancellation::Told),
        WorkitemState::Canceled => Ok(Cancellation::There),
        WorkitemState::Completed => Err(StateRefusal::AlreadyCompleted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use WorkitemState::{Canceled, Completed, InProgress, Scheduled};

    /// PS3.4 table CC.1.1-2, row by row: the event, then what comes of it in each of the four states.
    #[test]
    fn the_table_of_the_standard() {
        use StateRefusal as R;
        type Row = (WorkitemState, bool, [Result<Step, StateRefusal>; 4]);
        let table: [Row; 7] = [
            (
                InProgress,
                true,
                [
                    Ok(Step::Made),
                    Err(R::AlreadyInProgress),
                    Err(R::Ended),
                    Err(R::Ended),
                ],
            ),
            (InProgress, false, [Err(R::WrongKey); 4]),
            (Scheduled, true, [Err(R::ToScheduled); 4]),
            (Scheduled, false, [Err(R::ToScheduled); 4]),
            (
                Completed,
                true,
                [
                    Err(R::NotInProgress),
                    Ok(Step::Made),
                    Ok(Step::There),
                    Err(R::Ended),
                ],
            ),
            (Completed, false, [Err(R::WrongKey); 4]),
            (
                Canceled,
                true,
                [
                    Err(R::NotInProgress),
                    Ok(Step::Made),
                    Err(R::Ended),
                    Ok(Step::There),
                ],
            ),
        ];
        for (to, has_key, expected) in table {
            for (from, expected) in WorkitemState::ALL.into_iter().zip(expected) {
                let shown = if has_key {
                    Key::Shown("1.2")
                } else {
                    Key::None
                };
                let held = (from != Scheduled).then_some("1.2");
                assert_eq!(
                    step((from, to), held, shown, true),
                    expected,
                    "{from:?} {to:?} {shown:?}"
                );
                if from != Scheduled && to != Scheduled {
                    let wrong = step((from, to), held, Key::Shown("1.3"), true);
                    assert_eq!(wrong, Err(R::WrongKey), "{from:?} {to:?}");
                }
            }
        }
        let early = step(
            (InProgress, Completed),
            Some("1.2"),
            Key::Shown("1.2"),
            false,
        );
        assert_eq!(early, Err(R::NotFinal));
    }

    #[test]
    fn cancellation_may_be_asked_for_until_it_is_done() {
        let outcomes = WorkitemState::ALL.map(cancellation);
        let expected = [
            Ok(Cancellation::AtOnce),
            Ok(Cancellation::Told),
            Err(StateRefusal::AlreadyCompleted),
            Ok(Cancellation::There),
        ];
        assert_eq!(outcomes, expected);
    }
}
