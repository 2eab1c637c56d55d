//! Who may do what.

use autorep_core::id::OwnerName;

/// What a call needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Right {
    /// Reading sweeps: their states, fronts and logs, and the workers.
    Read,
    /// Submitting and steering sweeps.
    Submit,
    /// What concerns all sweeps, such as deleting checkpoints.
    Administer,
    /// Taking tasks and reporting on them.
    Work,
}

/// What a token is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Role {
    /// Reads all sweeps, or those of one owner.
    Viewer {
        /// Whose sweeps; all if it is nobody's.
        owner: Option<OwnerName>,
    },
    /// Submits, steers and reads the sweeps of one owner.
    Submitter {
        /// Whose.
        owner: OwnerName,
    },
    /// Takes tasks and reports on them, and nothing else.
    Worker,
    /// Everything but what workers do.
    Admin,
}

impl Role {
    /// The names by which people write them.
    pub const NAMES: [&str; 4] = ["viewer", "submitter", "worker", "admin"];

    /// The name by which people write it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Viewer { .. } => Self::NAMES[0],
            Self::Submitter { .. } => Self::NAMES[1],
            Self::Worker => Self::NAMES[2],
            Self::Admin => Self::NAMES[3],
        }
    }

    /// Whether it gives a right.
    pub const fn may(&self, right: Right) -> bool {
        match (self, right) {
            (Self::Viewer { .. } | Self::Submitter { .. } | Self::Admin, Right::Read)
            | (Self::Submitter { .. } | Self::Admin, Right::Submit)
            | (Self::Admin, Right::Administer)
            | (Self::Worker, Right::Work) => true,
            (Self::Viewer { .. }, Right::Submit | Right::Administer | Right::Work)
            | (Self::Submitter { .. }, Right::Administer | Right::Work)
            | (Self::Admin, Right::Work)
            | (Self::Worker, Right::Read | Right::Submit | Right::Administer) => false,
        }
    }

    /// The only owner whose sweeps it reaches, if there is one.
    pub const fn owner(&self) -> Option<&OwnerName> {
        match self {
            Self::Viewer { owner } => owner.as_ref(),
            Self::Submitter { owner } => Some(owner),
            Self::Worker | Self::Admin => None,
        }
    }
}

/// Somebody whose token is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// The token's name, for logs: the token itself is never shown.
    pub name: String,
    /// What it is for.
    pub role: Role,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_has_its_rights_and_no_others() {
        let owner: OwnerName = "alice".parse().unwrap();
        let all = [Right::Read, Right::Submit, Right::Administer, Right::Work];
        let rights = |role: &Role| all.map(|right| role.may(right));
        let viewer = Role::Viewer { owner: None };
        assert_eq!(rights(&viewer), [true, false, false, false]);
        let submitter = Role::Submitter { owner };
        assert_eq!(rights(&submitter), [true, true, false, false]);
        assert_eq!(rights(&Role::Admin), [true, true, true, false]);
        assert_eq!(rights(&Role::Worker), [false, false, false, true]);
    }
}
