//! What our rules for names refuse gets another name, always the same.

use tests::TestStack;

use crate::provider::script;

fn names(stack: &TestStack) -> Vec<String> {
    let listed: serde_json::Value = serde_json::from_str(&stack.vlmc(&["list", "--json"]).done()).unwrap();
    listed.as_array().unwrap().iter().map(|line| line["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_name_that_our_rules_allow_is_kept() {
    let stack = TestStack::start();
    let longest = "x".repeat(82);
    for name in
        ["-begins-with-a-dash", "with blanks and \"quotes\" \\ $HOME", "vol_0123456789abcde", &longest]
    {
        script(&stack, "create", &[("VOL_NAME", name), ("VOL_SIZE", "8")]).done();
        assert_eq!(names(&stack), [name]);
        script(&stack, "attach", &[("VOL_NAME", name), ("EXTP_ACCESS", "userspace")]).done();
        script(&stack, "detach", &[("VOL_NAME", name)]).done();
        assert_eq!(stack.vlmc(&["showmapped", "--json"]).done(), "[]");
        script(&stack, "remove", &[("VOL_NAME", name)]).done();
        assert!(names(&stack).is_empty());
    }
}

#[test]
fn a_name_that_our_rules_refuse_leads_to_one_volume_all_the_same() {
    let stack = TestStack::start();
    let longest = "x".repeat(83);
    let refused = [
        "disk",
        "with/slash",
        "line\nbreak",
        "archip_disk",
        "disk_lock",
        "disk_0123456789abcdef",
        "b.0123456789ABCDEF",
        &longest,
    ];
    for (index, name) in refused.iter().enumerate() {
        script(&stack, "create", &[("VOL_NAME", name), ("VOL_SIZE", "8")]).done();
        assert_eq!(names(&stack).len(), index + 1, "{name:?} got a name of its own");
        assert!(
            script(&stack, "create", &[("VOL_NAME", name), ("VOL_SIZE", "8")]).refused().contains("exists")
        );
    }
    assert!(names(&stack).iter().all(|name| name.starts_with("ganeti-")));
    for name in refused {
        script(&stack, "remove", &[("VOL_NAME", name)]).done();
    }
    assert!(names(&stack).is_empty());
}
