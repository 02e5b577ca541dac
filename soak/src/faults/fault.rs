//! The kinds of faults, and their names on the command line.

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    TerminateListener,
    TerminatePool,
    KillReplica,
    DrainReplica,
    StopReplica,
    RestartPostgres,
    CutConnections,
    DelayConnections,
    MuteConnections,
    CutDatabase,
    MuteDatabase,
    StallReader,
    AbsentClient,
    LockConversation,
    OpenTransaction,
    HostRefuses,
    SqlRows,
    SqlRollback,
    SqlEdits,
    SqlDeletions,
    SqlErasures,
    SqlReads,
}

impl Fault {
    pub const ALL: [Self; 22] = [
        Self::TerminateListener,
        Self::TerminatePool,
        Self::KillReplica,
        Self::DrainReplica,
        Self::StopReplica,
        Self::RestartPostgres,
        Self::CutConnections,
        Self::DelayConnections,
        Self::MuteConnections,
        Self::CutDatabase,
        Self::MuteDatabase,
        Self::StallReader,
        Self::AbsentClient,
        Self::LockConversation,
        Self::OpenTransaction,
        Self::HostRefuses,
        Self::SqlRows,
        Self::SqlRollback,
        Self::SqlEdits,
        Self::SqlDeletions,
        Self::SqlErasures,
        Self::SqlReads,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::TerminateListener => "terminate-listener",
            Self::TerminatePool => "terminate-pool",
            Self::KillReplica => "kill-replica",
            Self::DrainReplica => "drain-replica",
            Self::StopReplica => "stop-replica",
            Self::RestartPostgres => "restart-postgres",
            Self::CutConnections => "cut-connections",
            Self::DelayConnections => "delay-connections",
            Self::MuteConnections => "mute-connections",
            Self::CutDatabase => "cut-database",
            Self::MuteDatabase => "mute-database",
            Self::StallReader => "stall-reader",
            Self::AbsentClient => "absent-client",
            Self::LockConversation => "lock-conversation",
            Self::OpenTransaction => "open-transaction",
            Self::HostRefuses => "host-refuses",
            Self::SqlRows => "sql-rows",
            Self::SqlRollback => "sql-rollback",
            Self::SqlEdits => "sql-edits",
            Self::SqlDeletions => "sql-deletions",
            Self::SqlErasures => "sql-erasures",
            Self::SqlReads => "sql-reads",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.name() == name)
    }
}
