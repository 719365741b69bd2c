//! The tables of access: what each method needs, and what each role may do. docs/access.md shows both.
//!
//! A method that is not in [`METHODS`] is for nobody.

use serde::Deserialize;

/// What a method needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// See which services there are, and what time it is there.
    ReadSystem,
    /// See accounts, balances, subscribers and sessions.
    ReadAccounts,
    /// See tariffs and offers, and simulate them.
    ReadCatalogue,
    /// Follow all rated CDRs.
    ReadCdrs,
    /// Have a consumer of CDRs and acknowledge for it; make, move and end consumers.
    ConsumeCdrs,
    /// See who did what.
    ReadAudit,
    /// Pay in, redeem vouchers.
    TopUp,
    /// Make batches of vouchers and block them.
    MakeVouchers,
    /// Adjust, transfer, extend and give back.
    ChangeBalances,
    /// Approve large credits that another person asked for.
    ApproveCredits,
    /// Make and change subscribers, accounts and the offers they hold.
    ChangeSubscribers,
    /// Re-authorise, terminate and release sessions.
    ControlSessions,
    /// Hand in usage records.
    ChargeUsage,
    /// Rate usage again by corrected versions.
    Rerate,
    /// Write drafts of tariffs and offers.
    WriteDrafts,
    /// Approve what another person drafted.
    ApproveTariffs,
    /// Publish what was approved, and roll back.
    Publish,
    /// Move the clock of a development system.
    MoveClock,
}

impl Right {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 18] = [
        Self::ReadSystem,
        Self::ReadAccounts,
        Self::ReadCatalogue,
        Self::ReadCdrs,
        Self::ConsumeCdrs,
        Self::ReadAudit,
        Self::TopUp,
        Self::MakeVouchers,
        Self::ChangeBalances,
        Self::ApproveCredits,
        Self::ChangeSubscribers,
        Self::ControlSessions,
        Self::ChargeUsage,
        Self::Rerate,
        Self::WriteDrafts,
        Self::ApproveTariffs,
        Self::Publish,
        Self::MoveClock,
    ];
}

/// What each method needs: one line a method, in the order of paths.
pub const METHODS: &[(&str, Right)] = &[
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Right::ReadSystem),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Right::ReadSystem),
    ("/ocs.cdr.v1.CdrConsumers/CreateConsumer", Right::ConsumeCdrs),
    ("/ocs.cdr.v1.CdrConsumers/DeleteConsumer", Right::ConsumeCdrs),
    ("/ocs.cdr.v1.CdrConsumers/DiscardParked", Right::ConsumeCdrs),
    ("/ocs.cdr.v1.CdrConsumers/GetConsumer", Right::ReadCdrs),
    ("/ocs.cdr.v1.CdrConsumers/ListConsumers", Right::ReadCdrs),
    ("/ocs.cdr.v1.CdrConsumers/ListParked", Right::ReadCdrs),
    ("/ocs.cdr.v1.CdrConsumers/ResetConsumer", Right::ConsumeCdrs),
    ("/ocs.cdr.v1.CdrConsumers/RetryParked", Right::ConsumeCdrs),
    ("/ocs.cdr.v1.CdrConsumption/Consume", Right::ConsumeCdrs),
    ("/ocs.cdr.v1.CdrExport/GetTail", Right::ReadCdrs),
    ("/ocs.cdr.v1.CdrExport/StreamCdrs", Right::ReadCdrs),
    ("/ocs.cdr.v1.ControlTotals/GetControlTotals", Right::ReadCdrs),
    ("/ocs.cdr.v1.ControlTotals/Reconcile", Right::ReadCdrs),
    ("/ocs.operator.v1.Accounts/Adjust", Right::ChangeBalances),
    ("/ocs.operator.v1.Accounts/CancelOffer", Right::ChangeSubscribers),
    ("/ocs.operator.v1.Accounts/CreateAccount", Right::ChangeSubscribers),
    ("/ocs.operator.v1.Accounts/ExtendBucket", Right::ChangeBalances),
    ("/ocs.operator.v1.Accounts/GetAccount", Right::ReadAccounts),
    ("/ocs.operator.v1.Accounts/ListMovements", Right::ReadAccounts),
    ("/ocs.operator.v1.Accounts/PurchaseOffer", Right::ChangeSubscribers),
    ("/ocs.operator.v1.Accounts/ReplaceOffer", Right::ChangeSubscribers),
    ("/ocs.operator.v1.Accounts/TopUp", Right::TopUp),
    ("/ocs.operator.v1.Accounts/Transfer", Right::ChangeBalances),
    ("/ocs.operator.v1.Accounts/UpdateAccount", Right::ChangeSubscribers),
    ("/ocs.operator.v1.Approvals/Approve", Right::ApproveCredits),
    ("/ocs.operator.v1.Approvals/ListApprovals", Right::ReadAccounts),
    ("/ocs.operator.v1.Approvals/Reject", Right::ApproveCredits),
    ("/ocs.operator.v1.AuditLog/ListAuditRecords", Right::ReadAudit),
    ("/ocs.operator.v1.AuditLog/VerifyAuditLog", Right::ReadAudit),
    ("/ocs.operator.v1.Catalogue/ApproveDraft", Right::ApproveTariffs),
    ("/ocs.operator.v1.Catalogue/CloseAccountingPeriod", Right::Publish),
    ("/ocs.operator.v1.Catalogue/DeleteDraft", Right::WriteDrafts),
    ("/ocs.operator.v1.Catalogue/DiffDocuments", Right::ReadCatalogue),
    ("/ocs.operator.v1.Catalogue/GetDocument", Right::ReadCatalogue),
    ("/ocs.operator.v1.Catalogue/ListDocuments", Right::ReadCatalogue),
    ("/ocs.operator.v1.Catalogue/PromoteDocument", Right::Publish),
    ("/ocs.operator.v1.Catalogue/PublishDocument", Right::Publish),
    ("/ocs.operator.v1.Catalogue/PublishShare", Right::Publish),
    ("/ocs.operator.v1.Catalogue/PutDraft", Right::WriteDrafts),
    ("/ocs.operator.v1.Catalogue/RollBackDocument", Right::Publish),
    ("/ocs.operator.v1.Catalogue/SimulateEvent", Right::ReadCatalogue),
    ("/ocs.operator.v1.Catalogue/SimulatePeriod", Right::ReadCatalogue),
    ("/ocs.operator.v1.Catalogue/ValidateDocument", Right::ReadCatalogue),
    ("/ocs.operator.v1.Catalogue/WatchDocuments", Right::ReadCatalogue),
    ("/ocs.operator.v1.ChargingGroups/GetGroup", Right::ReadAccounts),
    ("/ocs.operator.v1.ChargingGroups/ListGroupAccounts", Right::ReadAccounts),
    ("/ocs.operator.v1.ChargingGroups/ListGroups", Right::ReadAccounts),
    ("/ocs.operator.v1.ChargingGroups/ListMembers", Right::ReadAccounts),
    ("/ocs.operator.v1.ChargingGroups/PutGroup", Right::ChangeSubscribers),
    ("/ocs.operator.v1.ChargingGroups/RemoveMember", Right::ChangeSubscribers),
    ("/ocs.operator.v1.ChargingGroups/UpdateMember", Right::ChangeSubscribers),
    ("/ocs.operator.v1.Clock/AdvanceTime", Right::MoveClock),
    ("/ocs.operator.v1.Clock/GetTime", Right::ReadSystem),
    ("/ocs.operator.v1.Clock/SetTime", Right::MoveClock),
    ("/ocs.operator.v1.Notifications/ListWatchedValues", Right::ReadAccounts),
    ("/ocs.operator.v1.Notifications/WatchNotifications", Right::ReadAccounts),
    ("/ocs.operator.v1.Rerating/ApproveRerating", Right::ApproveCredits),
    ("/ocs.operator.v1.Rerating/CancelRerating", Right::Rerate),
    ("/ocs.operator.v1.Rerating/GetRerating", Right::ReadCdrs),
    ("/ocs.operator.v1.Rerating/ListReratings", Right::ReadCdrs),
    ("/ocs.operator.v1.Rerating/PlanRerating", Right::Rerate),
    ("/ocs.operator.v1.Sessions/GetSession", Right::ReadAccounts),
    ("/ocs.operator.v1.Sessions/ListSessions", Right::ReadAccounts),
    ("/ocs.operator.v1.Sessions/ReauthorizeSession", Right::ControlSessions),
    ("/ocs.operator.v1.Sessions/ReleaseSession", Right::ControlSessions),
    ("/ocs.operator.v1.Sessions/TerminateSession", Right::ControlSessions),
    ("/ocs.operator.v1.Sessions/WatchSessions", Right::ReadAccounts),
    ("/ocs.operator.v1.Subscribers/GetSubscriber", Right::ReadAccounts),
    ("/ocs.operator.v1.Subscribers/LoadRows", Right::ChangeSubscribers),
    ("/ocs.operator.v1.Subscribers/PutSubscriber", Right::ChangeSubscribers),
    ("/ocs.operator.v1.Usage/ChargeRecords", Right::ChargeUsage),
    ("/ocs.operator.v1.Usage/ExplainCharge", Right::ReadAccounts),
    ("/ocs.operator.v1.Usage/GetTotals", Right::ReadAccounts),
    ("/ocs.operator.v1.Usage/ListCharges", Right::ReadAccounts),
    ("/ocs.operator.v1.Usage/RefundCharge", Right::ChangeBalances),
    ("/ocs.operator.v1.Vouchers/BlockBatch", Right::MakeVouchers),
    ("/ocs.operator.v1.Vouchers/BlockVoucher", Right::MakeVouchers),
    ("/ocs.operator.v1.Vouchers/CreateVouchers", Right::MakeVouchers),
    ("/ocs.operator.v1.Vouchers/GetVoucher", Right::TopUp),
    ("/ocs.operator.v1.Vouchers/ListBatches", Right::ReadAccounts),
    ("/ocs.operator.v1.Vouchers/RedeemVoucher", Right::TopUp),
];

/// Methods that anybody may call, known or not: probes have no credentials.
pub const OPEN: [&str; 2] = ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"];

/// What the method with this path needs; `None`: it is for nobody.
pub fn needed(path: &str) -> Option<Right> {
    METHODS.iter().find(|(method, _)| *method == path).map(|(_, right)| *right)
}

/// What somebody is here for. A caller may have several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Helps subscribers; pays in up to a ceiling.
    Support,
    /// Drafts tariffs and offers.
    TariffAuthor,
    /// Approves what others drafted.
    TariffApprover,
    /// Runs the system.
    Operator,
    /// Follows the money, and corrects it.
    Finance,
    /// Sees everything and changes nothing.
    Auditor,
    /// May do everything.
    Admin,
}

impl Role {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 8] = [
        Self::Viewer,
        Self::Support,
        Self::TariffAuthor,
        Self::TariffApprover,
        Self::Operator,
        Self::Finance,
        Self::Auditor,
        Self::Admin,
    ];

    /// What it may do.
    pub const fn rights(self) -> &'static [Right] {
        use Right::{
            ApproveCredits, ApproveTariffs, ChangeBalances, ChangeSubscribers, ChargeUsage, ConsumeCdrs,
            ControlSessions, MakeVouchers, MoveClock, Publish, ReadAccounts, ReadAudit, ReadCatalogue, ReadCdrs,
            ReadSystem, Rerate, TopUp, WriteDrafts,
        };
        match self {
            Self::Viewer => &[ReadSystem, ReadAccounts, ReadCatalogue],
            Self::Support => &[ReadSystem, ReadAccounts, ReadCatalogue, TopUp, ControlSessions],
            Self::TariffAuthor => &[ReadSystem, ReadCatalogue, WriteDrafts],
            Self::TariffApprover => &[ReadSystem, ReadCatalogue, ApproveTariffs],
            Self::Operator => {
                &[ReadSystem, ReadAccounts, ReadCatalogue, ChangeSubscribers, ControlSessions, Publish, MoveClock]
            }
            Self::Finance => &[
                ReadSystem,
                ReadAccounts,
                ReadCatalogue,
                ReadCdrs,
                ConsumeCdrs,
                TopUp,
                MakeVouchers,
                ChangeBalances,
                ApproveCredits,
                ChargeUsage,
                Rerate,
            ],
            Self::Auditor => &[ReadSystem, ReadAccounts, ReadCatalogue, ReadCdrs, ReadAudit],
            Self::Admin => &Right::ALL,
        }
    }

    /// Whether it may do what needs `right`.
    pub fn may(self, right: Right) -> bool {
        self.rights().contains(&right)
    }

    /// As configurations and messages write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Support => "support",
            Self::TariffAuthor => "tariff_author",
            Self::TariffApprover => "tariff_approver",
            Self::Operator => "operator",
            Self::Finance => "finance",
            Self::Auditor => "auditor",
            Self::Admin => "admin",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_ours_is_in_the_table_once() {
        let ours = ocs_proto::method_paths();
        assert!(ours.len() > 5, "{ours:?}");
        for path in &ours {
            assert!(needed(path).is_some(), "{path}: say in METHODS what it needs; until then it is for nobody");
        }
        for (path, _) in METHODS {
            let standard = path.starts_with("/grpc.reflection.v1");
            assert!(standard || ours.iter().any(|method| method == path), "{path} is no method");
        }
        assert!(METHODS.is_sorted_by(|(one, _), (next, _)| one < next), "in the order of paths, each once");
        assert!(OPEN.iter().all(|path| needed(path).is_none()));
    }

    #[test]
    fn every_right_is_somebodys_beside_the_admin_and_every_role_may_look_around() {
        for right in Right::ALL {
            let others = Role::ALL.iter().filter(|role| **role != Role::Admin && role.may(right));
            assert!(others.count() > 0, "{right:?}");
        }
        assert!(Role::ALL.iter().all(|role| role.may(Right::ReadSystem)));
        assert!(
            !Role::ALL
                .iter()
                .any(|role| *role != Role::Admin && role.may(Right::WriteDrafts) && role.may(Right::ApproveTariffs))
        );
    }

    #[test]
    fn the_documentation_has_the_tables() {
        let documented = include_str!("../../../docs/access.md");
        let names: Vec<String> = Role::ALL.iter().map(|role| format!("`{}`", role.name())).collect();
        let mut rights = format!("| right | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(Role::ALL.len()));
        for right in Right::ALL {
            let marks = Role::ALL.map(|role| if role.may(right) { "yes" } else { "" });
            rights += &format!("| {right:?} | {} |\n", marks.join(" | "));
        }
        assert!(documented.contains(&rights), "docs/access.md should have:\n{rights}");
        let mut methods = "| method | needs |\n|---|---|\n".to_owned();
        for (path, right) in METHODS {
            methods += &format!("| `{}` | {right:?} |\n", path.trim_start_matches('/'));
        }
        assert!(documented.contains(&methods), "docs/access.md should have:\n{methods}");
    }
}
