//! What goes wrong, one after the other, while clients write and read.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::cluster::Cluster;
use crate::history::Moment;
use crate::load::Load;
use crate::network::signal;
use crate::services::{Deployment, Services};

/// Longer than Patroni's lease, so that whoever comes back after it is not the primary any more.
const PAST_THE_LEASE: Duration = Duration::from_secs(27);
const GOES_ON_WITHIN: Duration = Duration::from_secs(120);
/// Answered writes and reads that say that it goes on.
const MANY: u32 = 15;

/// Everything that a fault may touch.
pub struct Scene {
    /// Databases.
    pub cluster: Cluster,
    /// The deployment.
    pub deployment: Deployment,
    /// Services, in the first data centres.
    pub services: Vec<Services>,
    /// Clients.
    pub load: Load,
    /// The inventory's file.
    pub inventory: std::path::PathBuf,
}

/// A fault.
pub struct Fault {
    /// Its name on the command line.
    pub name: &'static str,
    /// What happens, for the table.
    pub about: &'static str,
    /// Whether it is in the shorter form.
    pub is_quick: bool,
    /// How long writes may stay away at most: `None` where no request may fail instead.
    pub writes_within: Option<Duration>,
    inject: fn(&mut Scene, usize) -> Result<Moment>,
}

const LEASE: Option<Duration> = Some(Duration::from_secs(30));
const AT_ONCE: Option<Duration> = Some(Duration::from_secs(10));

/// All of them, in this order.
pub const FAULTS: &[Fault] = &[
    Fault {
        name: "kill",
        about: "the primary is killed (SIGKILL)",
        is_quick: true,
        writes_within: AT_ONCE,
        inject: kill,
    },
    Fault {
        name: "kill-site",
        about: "the primary and its Patroni are killed",
        is_quick: false,
        writes_within: LEASE,
        inject: kill_site,
    },
    Fault {
        name: "freeze",
        about: "the primary and its Patroni are frozen (SIGSTOP), and go on after the lease",
        is_quick: true,
        writes_within: LEASE,
        inject: freeze,
    },
    Fault {
        name: "cut",
        about: "the primary's data centre is cut off from the others, both ways",
        is_quick: true,
        writes_within: LEASE,
        inject: cut,
    },
    Fault {
        name: "cut-in",
        about: "nothing reaches the primary's data centre from the others",
        is_quick: true,
        writes_within: LEASE,
        inject: cut_in,
    },
    Fault {
        name: "cut-out",
        about: "nothing leaves the primary's data centre to the others",
        is_quick: false,
        writes_within: LEASE,
        inject: cut_out,
    },
    Fault { name: "disk", about: "the primary's disk is full", is_quick: true, writes_within: LEASE, inject: disk },
    Fault {
        name: "certificates",
        about: "every certificate of the databases is renewed",
        is_quick: false,
        writes_within: None,
        inject: certificates,
    },
    Fault {
        name: "rolling",
        about: "everything is restarted, one after the other",
        is_quick: true,
        writes_within: None,
        inject: rolling,
    },
];

impl Fault {
    /// Lets it happen and waits until all is as before. From when to when it was.
    ///
    /// # Errors
    /// If the system does not come back.
    pub fn happen(&self, scene: &mut Scene) -> Result<(Moment, Moment)> {
        let primary = scene.primary_beside_services()?;
        scene.goes_on("before the fault")?;
        let begun = (self.inject)(scene, primary)?;
        scene.cluster.settle()?;
        scene.goes_on("after the fault")?;
        Ok((begun, scene.load.now()))
    }
}

impl Scene {
    /// The primary, in a data centre that has services: those beside it are who could be told something old.
    fn primary_beside_services(&self) -> Result<usize> {
        let primary = self.cluster.settle()?;
        if primary < self.services.len() {
            return Ok(primary);
        }
        self.switch_over(primary, 0)?;
        self.cluster.settle()
    }

    fn switch_over(&self, from: usize, to: usize) -> Result<()> {
        let (old, new) = (self.site(from)?, self.site(to)?);
        let words = ["switchover", "countersign", "--leader", &old.name, "--candidate", &new.name, "--force"];
        self.cluster.ctl(old, &words).map(drop)
    }

    fn site(&self, index: usize) -> Result<&crate::cluster::Site> {
        self.cluster.sites.get(index).context("no such data centre")
    }

    fn goes_on(&self, when: &str) -> Result<()> {
        if self.load.goes_on(MANY, GOES_ON_WITHIN) {
            return Ok(());
        }
        bail!("nothing was answered for {GOES_ON_WITHIN:?} {when}")
    }

    /// Waits while a fault lasts: past the lease, and until somebody writes again.
    fn endure(&self, begun: Moment) {
        let _ = self.load.goes_on(MANY, GOES_ON_WITHIN);
        let left = PAST_THE_LEASE.saturating_sub(self.load.now().saturating_sub(begun));
        std::thread::sleep(left);
    }
}

fn kill(scene: &mut Scene, primary: usize) -> Result<Moment> {
    let postmaster = scene.site(primary)?.postmaster()?;
    let begun = scene.load.now();
    signal("KILL", postmaster)?;
    // What was answered just before counts for nothing.
    std::thread::sleep(Duration::from_secs(1));
    scene.goes_on("after the primary was killed")?;
    Ok(begun)
}

fn kill_site(scene: &mut Scene, primary: usize) -> Result<Moment> {
    let site = scene.site(primary)?;
    // Nobody starts it again before the machine is back.
    site.patroni()?.hold();
    let processes = site.database_processes()?;
    let begun = scene.load.now();
    for process in processes {
        // One may have ended with another.
        let _ = signal("KILL", process);
    }
    std::thread::sleep(Duration::from_secs(1));
    scene.goes_on("after the primary's data centre was killed")?;
    scene.site(primary)?.patroni()?.release();
    Ok(begun)
}

fn freeze(scene: &mut Scene, primary: usize) -> Result<Moment> {
    let processes = scene.site(primary)?.database_processes()?;
    let begun = scene.load.now();
    for process in &processes {
        let _ = signal("STOP", *process);
    }
    scene.endure(begun);
    // PostgreSQL first, and Patroni a while later: nobody tells the old primary that it is none.
    let patroni = scene.site(primary)?.patroni()?.id();
    for process in processes.iter().filter(|process| **process != patroni) {
        let _ = signal("CONT", *process);
    }
    std::thread::sleep(Duration::from_secs(4));
    signal("CONT", patroni)?;
    Ok(begun)
}

/// Cuts the primary's data centre off from the others; clients reach all.
fn cut_off(scene: &mut Scene, primary: usize, inwards: bool, outwards: bool) -> Result<Moment> {
    let own = scene.site(primary)?.place.clone();
    let others: Vec<_> = scene.cluster.sites.iter().map(|site| site.place.clone()).collect();
    let others = || others.iter().filter(|other| other.namespace != own.namespace);
    let begun = scene.load.now();
    for other in others() {
        if outwards {
            own.cut_to(other)?;
        }
        if inwards {
            other.cut_to(&own)?;
        }
    }
    scene.endure(begun);
    for other in others() {
        if outwards {
            own.heal_to(other)?;
        }
        if inwards {
            other.heal_to(&own)?;
        }
    }
    Ok(begun)
}

fn cut(scene: &mut Scene, primary: usize) -> Result<Moment> {
    cut_off(scene, primary, true, true)
}

fn cut_in(scene: &mut Scene, primary: usize) -> Result<Moment> {
    cut_off(scene, primary, true, false)
}

fn cut_out(scene: &mut Scene, primary: usize) -> Result<Moment> {
    cut_off(scene, primary, false, true)
}

fn disk(scene: &mut Scene, primary: usize) -> Result<Moment> {
    let begun = scene.load.now();
    scene.site(primary)?.fill_disk()?;
    // What was answered before anybody noticed counts for nothing.
    std::thread::sleep(Duration::from_secs(8));
    scene.goes_on("after the primary's disk was full")?;
    scene.site(primary)?.empty_disk()?;
    Ok(begun)
}

fn certificates(scene: &mut Scene, _: usize) -> Result<Moment> {
    let begun = scene.load.now();
    for site in &scene.cluster.sites {
        scene.deployment.certify(&scene.inventory, site)?;
        site.reload()?;
    }
    std::thread::sleep(Duration::from_secs(3));
    Ok(begun)
}

fn rolling(scene: &mut Scene, _: usize) -> Result<Moment> {
    let begun = scene.load.now();
    for index in 0..scene.cluster.sites.len() {
        let primary = scene.cluster.settle()?;
        if primary == index {
            let next = index.saturating_add(1).checked_rem(scene.cluster.sites.len()).unwrap_or(0);
            scene.switch_over(primary, next)?;
            scene.cluster.settle()?;
        }
        scene.site(index)?.restart_patroni()?;
        scene.cluster.settle()?;
        scene.site(index)?.restart_etcd()?;
        scene.cluster.settle()?;
        if let Some(services) = scene.services.get(index) {
            services.restart_services()?;
            services.restart_authority()?;
        }
        scene.goes_on("while everything was restarted")?;
    }
    Ok(begun)
}
