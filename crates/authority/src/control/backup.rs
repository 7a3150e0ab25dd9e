//! Backups: what was asked for is begun here and goes on with the custodian.

use countersign_guard::Permit;
use countersign_model::Name;
use countersign_model::custody::BackupControl;

use super::Done;
use super::describe::describe_backup;
use crate::answer::ControlAnswer;
use crate::authority::Authority;
use crate::custodian::{CustodyFailure, Task, Work};
use crate::error::ControlFailure;

impl Authority {
    pub(super) async fn backup(&self, permit: &Permit, backup: BackupControl) -> Result<Done, ControlFailure> {
        let custodian = self.custodian.as_ref().ok_or_else(|| {
            let expected = "a process that is all services, and serves, to look after backups".to_owned();
            CustodyFailure::Invalid { field: "deployment", expected }
        })?;
        let (caller, asked) = (permit.principal(), describe_backup(&backup));
        let named = |tenant: &Name| {
            let (id, name, _) = self.tenant_of(caller, Some(tenant))?;
            Ok::<_, ControlFailure>((id, name))
        };
        let task = match backup {
            BackupControl::Create { repository, tenant } => {
                Task::Backup { repository, tenant: tenant.as_ref().map(named).transpose()? }
            }
            BackupControl::Verify { repository, backup } => Task::Verify { repository, backup },
            BackupControl::Remove { repository, backup, forget } => Task::Remove { repository, backup, forget },
            BackupControl::Restore { tenant, from, to } => Task::Restore { tenant: named(&tenant)?, from, to },
            BackupControl::List { repository } => {
                return Ok(Done::looked(ControlAnswer::Custody(custodian.backups(&repository).await?)));
            }
            BackupControl::Jobs => return Ok(Done::looked(ControlAnswer::Custody(custodian.jobs()))),
            BackupControl::Job { job } => {
                let found = custodian.job(job);
                let found = found.ok_or_else(|| CustodyFailure::NotFound { what: "job", name: job.to_string() })?;
                return Ok(Done::looked(ControlAnswer::Custody(found)));
            }
            BackupControl::Cancel { job } => {
                return Ok(Done::changed(ControlAnswer::Custody(custodian.cancel(job).await?)));
            }
        };
        if let Task::Restore { tenant: (tenant, _), .. } = &task {
            // The tenant is told before its records become others, and again when they have.
            self.record_elsewhere(permit, *tenant, asked, self.registry.clock().now()).await?;
        }
        let work = Work { job: permit.request().id, by: Some(caller.acting().0), task };
        Ok(Done::changed(ControlAnswer::Custody(custodian.begin(work).await?)))
    }
}
