//! The rules that come with the program: the files of `rules/`, as they are.

macro_rules! files {
    ($($name:literal,)*) => {
        /// Each by its name, with its text.
        pub(super) const FILES: &[(&str, &str)] = &[
            $(($name, include_str!(concat!("../../../../rules/", $name))),)*
        ];
    };
}

files! {
    "audit_sink_failing.yml",
    "backup_failed.yml",
    "backup_old.yml",
    "break_glass.yml",
    "budget_spent.yml",
    "certificate_running_out.yml",
    "clock_drift.yml",
    "cross_tenant_attempt.yml",
    "damaged_data.yml",
    "epoch_drift.yml",
    "facts_out_of_date.yml",
    "first_use_of_field_class.yml",
    "incident_clock.yml",
    "kms_unavailable.yml",
    "key_limit_near.yml",
    "key_limit_reached.yml",
    "key_period_ending.yml",
    "key_period_over.yml",
    "ledger_gap.yml",
    "ledger_lag.yml",
    "log_fork.yml",
    "logins_from_many_keys.yml",
    "mass_reading.yml",
    "missing_countersignature.yml",
    "operator_access.yml",
    "policy_fault.yml",
    "refusals_in_bursts.yml",
    "revoked_token_used.yml",
    "service_silent.yml",
}
