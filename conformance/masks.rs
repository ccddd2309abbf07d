//! config-linux.md: maskedPaths and readonlyPaths.

use crate::support::*;
use std::fs;
use std::os::unix::fs::symlink;

pub const TESTS: &[Test] = suite![
    a_masked_file_reads_as_empty,
    a_masked_directory_is_empty_and_readonly,
    a_masked_file_is_the_null_device,
    a_missing_masked_path_is_passed_over,
    the_default_masks,
    many_masks,
    a_mask_over_a_mount,
    a_mask_of_a_symbolic_link_stays_inside,
    a_readonly_file,
    a_readonly_directory,
    a_readonly_path_takes_its_submounts_along,
    a_missing_readonly_path_is_passed_over,
    proc_sys_is_readonly,
    sysrq_trigger_cannot_be_written: [Need::File("/proc/sysrq-trigger")],
    the_image_is_as_it_was,
    a_relative_path_is_refused,
    absent_lists_mask_nothing,
    a_path_both_masked_and_readonly,
    a_mask_cannot_be_removed_without_rights,
    readonly_keeps_other_flags,
];

fn masked(t: &Case, path: &str, script: &str) -> String {
    t.sh(script, |b| {
        fs::create_dir(b.root("/secret")).unwrap();
        write(b.root("/secret/file"), "text");
        b.edit(|c| c["linux"]["maskedPaths"] = json!([path]));
    })
}

fn a_masked_file_reads_as_empty(t: &Case) {
    assert_eq!(masked(t, "/secret/file", "cat /secret/file; echo x > /secret/file && cat /secret/file; echo end"), "end\n");
}

fn a_masked_directory_is_empty_and_readonly(t: &Case) {
    let out = masked(t, "/secret", "ls -A /secret; touch /secret/new 2>&1; true");
    assert_has(&out, "Read-only");
    assert_lacks(&out, "file\n");
}

fn a_masked_file_is_the_null_device(t: &Case) {
    assert_has(&masked(t, "/secret/file", "probe rdev /secret/file"), "c 1:3 ");
}

fn a_missing_masked_path_is_passed_over(t: &Case) {
    assert_eq!(masked(t, "/no/such/path", "ls -d /no 2>&1 | wc -l; echo fine"), "1\nfine\n");
}

fn the_default_masks(t: &Case) {
    let out = t.sh("for p in /proc/kcore /proc/keys /proc/timer_list /proc/sched_debug; do head -c 1 $p 2>/dev/null | wc -c; done; ls -A /sys/firmware /proc/acpi /proc/scsi 2>/dev/null | grep -v -e : -e '^$'; true", |_| ());
    assert_eq!(out, "0\n0\n0\n0\n");
}

fn many_masks(t: &Case) {
    let out = t.sh("cat /many/*/f; ls -A /dirs/*; echo end", |b| {
        for n in 0..100 {
            fs::create_dir_all(b.root(&format!("/many/{n}"))).unwrap();
            write(b.root(&format!("/many/{n}/f")), "secret");
            fs::create_dir_all(b.root(&format!("/dirs/{n}/inner"))).unwrap();
        }
        let paths: Vec<_> = (0..100).flat_map(|n| [format!("/many/{n}/f"), format!("/dirs/{n}")]).collect();
        b.edit(|c| c["linux"]["maskedPaths"] = json!(paths));
    });
    assert_lacks(&out, "secret");
    assert_lacks(&out, "inner");
    assert!(out.ends_with("end\n"), "{out}");
}

fn a_mask_over_a_mount(t: &Case) {
    let dir = t.mkdir("data");
    write(dir.join("file"), "secret");
    let out = t.sh("cat /mnt/file; echo end", |b| {
        b.bind(&dir, "/mnt", &["rbind"]);
        b.edit(|c| c["linux"]["maskedPaths"] = json!(["/mnt/file"]));
    });
    assert_eq!(out, "end\n");
    assert_eq!(read(dir.join("file")), "secret");
}

fn a_mask_of_a_symbolic_link_stays_inside(t: &Case) {
    let canary = t.path("canary");
    write(&canary, "canary");
    let b = t.bundle_sh("exit 0");
    symlink(&canary, b.root("/link")).unwrap();
    b.edit(|c| c["linux"]["maskedPaths"] = json!(["/link"]));
    let output = t.run(&b);
    assert_eq!(read(&canary), "canary");
    assert!(output.code() == 0 || !output.stderr.is_empty());
}

fn readonly(t: &Case, path: &str, script: &str) -> String {
    t.sh(script, |b| {
        fs::create_dir(b.root("/data")).unwrap();
        write(b.root("/data/file"), "text\n");
        b.edit(|c| c["linux"]["readonlyPaths"] = json!([path]));
    })
}

fn a_readonly_file(t: &Case) {
    let out = readonly(t, "/data/file", "cat /data/file; touch /data/file 2>&1; echo x > /data/other && echo written");
    assert_has(&out, "text\n");
    assert_has(&out, "Read-only");
    assert_has(&out, "written\n");
}

fn a_readonly_directory(t: &Case) {
    let out = readonly(t, "/data", "touch /data/new 2>&1; touch /data/file 2>&1; true");
    assert_eq!(out.matches("Read-only").count(), 2, "{out}");
}

fn a_readonly_path_takes_its_submounts_along(t: &Case) {
    let out = t.sh("ls /mnt/inner; touch /mnt/new 2>&1; true", |b| {
        b.mount(json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs"}));
        b.mount(json!({"destination": "/mnt/inner", "type": "tmpfs", "source": "tmpfs"}));
        let dir = t.mkdir("data");
        write(dir.join("file"), "");
        b.bind(&dir, "/mnt/inner/deep", &["rbind"]);
        b.edit(|c| c["linux"]["readonlyPaths"] = json!(["/mnt"]));
    });
    assert_has(&out, "deep\n");
    assert_has(&out, "Read-only");
}

fn a_missing_readonly_path_is_passed_over(t: &Case) {
    assert_eq!(readonly(t, "/no/such/path", "echo fine"), "fine\n");
}

fn proc_sys_is_readonly(t: &Case) {
    let out = t.sh("echo 1 2>/dev/null > /proc/sys/net/ipv4/ip_forward || echo refused; touch /proc/irq/x 2>&1; true", |_| ());
    assert_has(&out, "refused\n");
}

fn sysrq_trigger_cannot_be_written(t: &Case) {
    // Opened only: a write would reach the machine of a runtime that fails here.
    assert_eq!(t.sh("probe open /proc/sysrq-trigger w", |_| ()), "Read-only file system\n");
}

fn the_image_is_as_it_was(t: &Case) {
    let b = t.bundle();
    fs::create_dir(b.root("/secret")).unwrap();
    write(b.root("/secret/file"), "text");
    b.edit(|c| {
        c["linux"]["maskedPaths"] = json!(["/secret/file", "/secret/absent"]);
        c["linux"]["readonlyPaths"] = json!(["/secret", "/absent"]);
    });
    let c = t.started(&b);
    assert_eq!(read(b.root("/secret/file")), "text");
    drop(c);
    assert_eq!(read(b.root("/secret/file")), "text");
    assert!(!present(b.root("/secret/absent")) && !present(b.root("/absent")));
}

fn a_relative_path_is_refused(t: &Case) {
    for list in ["maskedPaths", "readonlyPaths"] {
        let b = t.bundle();
        b.edit(|c| c["linux"][list] = json!(["proc/kcore"]));
        assert_has(&t.refused(&b), "proc/kcore");
    }
}

fn absent_lists_mask_nothing(t: &Case) {
    let info = t.sh("cat /proc/self/mountinfo", |b| {
        b.edit(|c| {
            c["linux"].as_object_mut().unwrap().remove("maskedPaths");
            c["linux"].as_object_mut().unwrap().remove("readonlyPaths");
        });
    });
    assert_lacks(&info, " /proc/");
    assert_lacks(&info, " /sys/firmware");
}

fn a_path_both_masked_and_readonly(t: &Case) {
    let out = t.sh("cat /data/file; echo end", |b| {
        fs::create_dir(b.root("/data")).unwrap();
        write(b.root("/data/file"), "secret");
        b.edit(|c| {
            c["linux"]["maskedPaths"] = json!(["/data/file"]);
            c["linux"]["readonlyPaths"] = json!(["/data"]);
        });
    });
    assert_lacks(&out, "secret");
}

fn a_mask_cannot_be_removed_without_rights(t: &Case) {
    assert_eq!(masked(t, "/secret", "umount /secret 2>/dev/null; ls -A /secret; echo end"), "end\n");
}

fn readonly_keeps_other_flags(t: &Case) {
    let info = t.sh("grep ' /dev/shm ' /proc/self/mountinfo | tail -1", |b| {
        b.edit(|c| c["linux"]["readonlyPaths"] = json!(["/dev/shm"]));
    });
    let options = info.split(' ').nth(5).unwrap();
    for flag in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(options.split(',').any(|o| o == flag), "{flag} in {options}");
    }
}
