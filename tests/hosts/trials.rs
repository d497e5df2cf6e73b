//! Histories of what clients on three hosts are told while harm is done to them.

use std::time::Duration;

use tests::{Dice, Trial, history::News};

use crate::site::Site;

/// How long a trial goes on if nobody says.
const SECONDS: u64 = 20;

#[test]
fn what_clients_of_three_hosts_are_told_one_volume_could_have_told() {
    let Some(site) = Site::shared("trials::what_clients_of_three_hosts_are_told_one_volume_could_have_told")
    else {
        return;
    };
    let told = std::env::var("ARCHIPELAGO_TRIAL_SECONDS").ok().and_then(|told| told.parse().ok());
    let hosts = site.hosts::<3>("trial");
    let mut dice = Dice::told("ARCHIPELAGO_TRIAL_SEED", 0);
    Trial::new(&hosts, "volume1", News::Late).run(&mut dice, Duration::from_secs(told.unwrap_or(SECONDS)));
}
