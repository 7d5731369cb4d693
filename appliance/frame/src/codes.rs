//! Closed lists of numbers, each with its meaning.

/// Declares a closed list of numbers with their meanings.
macro_rules! codes {
    ($(#[doc = $what:literal])+ $list:ident: $type:ty { $($number:literal = $name:ident, $meaning:literal;)+ }) => {
        $(#[doc = $what])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $list { $(#[doc = $meaning] $name,)+ }

        impl $list {
            /// All of them, in the order of their numbers.
            pub const ALL: [Self; [$(Self::$name),+].len()] = [$(Self::$name),+];

            /// Its number on the wire.
            #[must_use]
            pub const fn number(self) -> $type {
                match self { $(Self::$name => $number,)+ }
            }

            /// What it means, to be shown.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)+ }
            }

            /// What this number says; `None` for one that is on no list.
            #[must_use]
            pub const fn of(number: u64) -> Option<Self> {
                match number { $($number => Some(Self::$name),)+ _ => None }
            }
        }
    };
}

pub(crate) use codes;
