//! Enums whose variants have names for others to read: on the wire, in settings, errors and figures.

/// An enum of names, so that each name is written once.
macro_rules! names {
    ($(#[$doc:meta])* $names:ident { $($(#[$about:meta])* $variant:ident = $name:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $names {
            $($(#[$about])* $variant,)+
        }

        impl $names {
            #![allow(dead_code)] // not every one of these enums needs all of them

            /// Each at the place of its number (`as usize`), in the order of the documents and of the figures.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            /// Their names, in the same order.
            pub const NAMES: [&'static str; [$($name),+].len()] = [$($name),+];

            /// As others read it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// `None`: this version knows no such name. Letters count in their case.
            pub fn named(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

pub(crate) use names;
