//! Enums whose variants have names for others to read: on the wire, in errors and in figures.

/// An enum of names, so that each name is written once.
macro_rules! names {
    ($(#[$doc:meta])* $names:ident { $($variant:ident = $name:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $names {
            $($variant,)+
        }

        impl $names {
            /// Each at the place of its number (`as usize`), in the order of the documents and of the figures.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            /// As others read it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

pub(crate) use names;
