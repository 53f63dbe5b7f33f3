use std::cell::{Cell, RefCell};

use super::*;

/// A watch that would notice nothing without events.
fn by_events(file: &Path, known: &[u8], changed: impl Fn() + Send + 'static) -> Watch {
    let never = Duration::from_secs(3600);
    Watch::looking_again("test", watched(file, known), changed, never).expect("watched")
}

fn watched(file: &Path, known: &[u8]) -> Watched {
    let watched = Watched::default();
    watched.set(vec![(file.to_owned(), Some(known.to_vec()))]);
    watched
}

struct Scene {
    dir: PathBuf,
    file: PathBuf,
    /// What was in the file each time it was said to have changed.
    changes: Receiver<String>,
    watch: Option<Watch>,
}

impl Scene {
    fn new(name: &str) -> Scene {
        let dir = std::env::temp_dir().join(format!("relay-watch-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a temporary directory");
        let file = dir.join("opcodes.lua");
        std::fs::write(&file, "one").expect("written");
        let (tell, changes) = sync_channel(100);
        let read = file.clone();
        let changed = move || {
            let _ = tell.send(std::fs::read_to_string(&read).unwrap_or_default());
        };
        let watch = by_events(&file, b"one", changed);
        Scene { dir, file, changes, watch: Some(watch) }
    }

    fn changed(&self) -> Option<String> {
        self.changes.recv_timeout(Duration::from_secs(10)).ok()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.watch.take();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn a_file_written_in_place_or_renamed_over_is_noticed_again_and_again() {
    let scene = Scene::new("rename");
    let noticed = |text: &str| {
        while scene.changed().unwrap_or_else(|| panic!("not noticed: {text}")) != text {}
    };
    for round in 0..3 {
        let text = format!("in place {round}");
        std::fs::write(&scene.file, &text).expect("written");
        noticed(&text);
        let text = format!("renamed {round}");
        std::fs::write(scene.dir.join("new"), &text).expect("written");
        std::fs::rename(scene.dir.join("new"), &scene.file).expect("renamed");
        noticed(&text);
    }
}

#[cfg(unix)]
#[test]
fn a_swapped_symlink_is_noticed() {
    use std::os::unix::fs::symlink;
    let dir = std::env::temp_dir().join(format!("relay-watch-link-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    for (version, text) in [("v1", "one"), ("v2", "two")] {
        std::fs::create_dir_all(dir.join(version)).expect("a temporary directory");
        std::fs::write(dir.join(version).join("opcodes.lua"), text).expect("written");
    }
    symlink("v1", dir.join("data")).expect("linked");
    symlink("data/opcodes.lua", dir.join("opcodes.lua")).expect("linked");
    let (tell, changes) = sync_channel(100);
    let changed = move || tell.send(()).expect("the test listens");
    let watch = by_events(&dir.join("opcodes.lua"), b"one", changed);
    symlink("v2", dir.join("data-new")).expect("linked");
    std::fs::rename(dir.join("data-new"), dir.join("data")).expect("swapped");
    assert!(changes.recv_timeout(Duration::from_secs(10)).is_ok());
    drop(watch);
    let _ = std::fs::remove_dir_all(&dir);
}

#[test]
fn the_same_bytes_and_other_files_are_no_change() {
    let scene = Scene::new("same");
    std::fs::write(scene.dir.join("new"), "one").expect("written");
    std::fs::rename(scene.dir.join("new"), &scene.file).expect("renamed");
    std::fs::write(scene.dir.join("other.lua"), "two").expect("written");
    // Quiet has to come before the next change, or that one hides a notice of these.
    std::thread::sleep(2 * QUIET);
    std::fs::write(scene.dir.join("new"), "last").expect("written");
    std::fs::rename(scene.dir.join("new"), &scene.file).expect("renamed");
    assert_eq!(scene.changed().as_deref(), Some("last"));
}

#[test]
fn several_writes_of_one_save_are_hardly_more_than_one_change() {
    let scene = Scene::new("burst");
    for part in 0..50 {
        std::fs::write(&scene.file, format!("part {part}")).expect("written");
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut notices = 1;
    while scene.changed().expect("the last part") != "part 49" {
        notices += 1;
    }
    assert!(notices < 5, "{notices}");
}

/// An eye on files that were seen with nothing in them, and without a thread: looked at step by step.
fn eye_on(file: &Path) -> Eye {
    Eye {
        watched: watched(file, b""),
        seen: Contents::new(),
        watcher: notify::recommended_watcher(|_| ()).expect("a watcher"),
        directories: HashSet::new(),
        look_again: LOOK_AGAIN,
        stop: Arc::default(),
    }
}

#[test]
fn a_save_in_place_is_a_change_when_it_is_over() {
    let scene = Scene::new("midst");
    let mut eye = eye_on(&scene.file);
    let write = |text: &str| std::fs::write(&scene.file, text).expect("written");
    let looks = |eye: &mut Eye, texts: &[&str]| {
        let left = RefCell::new(texts.iter());
        let changed =
            eye.changes(|| left.borrow_mut().next().into_iter().for_each(|text| write(text)));
        (changed, left.into_inner().len())
    };
    write("function a() end");
    let whole = "function a() end function b() end";
    assert_eq!(looks(&mut eye, &["function a() end fun", whole, whole]), (true, 0));
    assert_eq!(eye.seen[&scene.file].as_deref(), Some(whole.as_bytes()));
    assert_eq!(looks(&mut eye, &["two"]), (false, 1), "nobody waits for what does not change");
    write("");
    assert_eq!(looks(&mut eye, &[whole]), (false, 0), "what is there again is no change");
}

#[test]
fn a_file_that_is_never_still_is_a_change_all_the_same() {
    let scene = Scene::new("never-still");
    let (mut eye, looks) = (eye_on(&scene.file), Cell::new(0));
    assert!(eye.changes(|| {
        looks.set(looks.get() + 1);
        std::fs::write(&scene.file, looks.get().to_string()).expect("written");
    }));
    assert_eq!(looks.get(), LOOKS_MAX - 1);
}

#[test]
fn what_changed_before_the_watch_started_is_noticed() {
    let mut scene = Scene::new("before");
    scene.watch.take();
    let (tell, changes) = sync_channel(100);
    let changed = move || tell.send(()).expect("the test listens");
    let _watch = by_events(&scene.file, b"older", changed);
    assert!(changes.recv_timeout(Duration::from_secs(10)).is_ok());
}

#[test]
fn a_dropped_watch_is_silent_and_a_missing_directory_is_an_error() {
    let mut scene = Scene::new("dropped");
    scene.watch.take();
    std::fs::write(&scene.file, "two").expect("written");
    // The sender went with the watch.
    assert_eq!(
        scene.changes.recv_timeout(Duration::from_secs(10)),
        Err(RecvTimeoutError::Disconnected)
    );
    let nowhere = watched(Path::new("/nowhere/opcodes.lua"), b"");
    assert!(Watch::start("test", nowhere, || {}).is_err());
}

#[test]
fn dropping_it_waits_for_nothing() {
    let mut scene = Scene::new("waits");
    scene.watch.take();
    let (tell, changes) = sync_channel(1);
    let (release, held) = sync_channel::<()>(1);
    let changed = move || {
        tell.send(()).expect("the test listens");
        let _ = held.recv();
    };
    let watch = by_events(&scene.file, b"older", changed);
    changes.recv_timeout(Duration::from_secs(10)).expect("a change");
    let (tell, dropped) = sync_channel(1);
    std::thread::spawn(move || {
        drop(watch);
        let _ = tell.send(());
    });
    assert!(dropped.recv_timeout(Duration::from_secs(10)).is_ok(), "its thread is held up");
    drop(release);
}

#[test]
fn looking_is_no_reason_to_look_again() {
    use notify::event::{AccessKind, AccessMode, ModifyKind};
    let event = |kind| may_be_a_change(&Ok(Event::new(kind)));
    assert!(!event(EventKind::Access(AccessKind::Open(AccessMode::Any))));
    assert!(!event(EventKind::Access(AccessKind::Close(AccessMode::Read))));
    assert!(event(EventKind::Access(AccessKind::Close(AccessMode::Write))));
    assert!(event(EventKind::Modify(ModifyKind::Any)));
    assert!(may_be_a_change(&Err(notify::Error::generic("lost"))));
}

#[test]
fn a_directory_that_was_replaced_is_looked_at_again() {
    let mut scene = Scene::new("replaced");
    scene.watch.take();
    let (tell, changes) = sync_channel(100);
    let changed = move || tell.send(()).expect("the test listens");
    let often = Duration::from_millis(5);
    let _watch = Watch::looking_again("test", watched(&scene.file, b"one"), changed, often)
        .expect("watched");
    std::fs::remove_dir_all(&scene.dir).expect("removed");
    assert!(changes.recv_timeout(Duration::from_secs(10)).is_ok(), "gone");
    // The events of the removal are over then: only looking is left.
    std::thread::sleep(4 * QUIET);
    std::fs::create_dir_all(&scene.dir).expect("made again");
    std::fs::write(&scene.file, "two").expect("written");
    assert!(changes.recv_timeout(Duration::from_secs(10)).is_ok(), "there again");
}
