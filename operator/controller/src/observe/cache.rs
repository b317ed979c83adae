//! Objects as a watch has them, each reduced to a value and found by the run to which it belongs.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::Event;
use scalequest_crds::v1alpha1::SynthesisRun;

use super::{run_of, version};

/// What is kept of an object of kind `K`.
pub trait Kept<K>: Sized {
    /// The value; none where the object is not one that the run with `uid` owns.
    fn keep(object: &K, uid: &str) -> Option<Self>;
}

/// Values of one kind of objects.
#[derive(Debug)]
pub struct Cache<V> {
    inner: RwLock<Inner<V>>,
}

/// The values of a run, by object, and where to find the run.
#[derive(Debug)]
struct OfRun<V> {
    run: ObjectRef<SynthesisRun>,
    values: BTreeMap<String, Version<V>>,
}

/// A value as it was in a version.
#[derive(Debug)]
struct Version<V> {
    version: u64,
    value: Arc<V>,
}

/// What a list or a watch has shown.
#[derive(Debug)]
struct World<V> {
    runs: HashMap<String, OfRun<V>>,
    latest: u64,
}

#[derive(Debug)]
struct Inner<V> {
    world: World<V>,
    /// What a list that is under way has found so far. It counts once it is complete.
    listed: Option<World<V>>,
    is_ready: bool,
}

impl<V> Default for World<V> {
    fn default() -> Self {
        World {
            runs: HashMap::new(),
            latest: 0,
        }
    }
}

impl<V> Default for Cache<V> {
    fn default() -> Self {
        Cache {
            inner: RwLock::new(Inner {
                world: World::default(),
                listed: None,
                is_ready: false,
            }),
        }
    }
}

impl<V> World<V> {
    /// Takes in an object, or that it is gone; the run that is concerned, if one is.
    fn take<K: ResourceExt>(
        &mut self,
        object: &K,
        is_there: bool,
    ) -> Option<ObjectRef<SynthesisRun>>
    where
        V: Kept<K>,
    {
        let seen = version(object.resource_version().as_deref());
        self.latest = self.latest.max(seen);
        let (uid, run) = run_of(object)?;
        let id = object.uid()?;
        match V::keep(object, &uid).filter(|_| is_there) {
            Some(value) => {
                let of_run = self.runs.entry(uid).or_insert_with(|| OfRun {
                    run: run.clone(),
                    values: BTreeMap::new(),
                });
                // What comes late does not undo what came before it.
                let is_late = |known: &Version<V>| known.version > seen;
                if !of_run.values.get(&id).is_some_and(is_late) {
                    let (version, value) = (seen, Arc::new(value));
                    of_run.values.insert(id, Version { version, value });
                }
            }
            None => {
                if let Some(of_run) = self.runs.get_mut(&uid) {
                    of_run.values.remove(&id);
                    if of_run.values.is_empty() {
                        self.runs.remove(&uid);
                    }
                }
            }
        }
        Some(run)
    }
}

impl<V> Cache<V> {
    /// Takes in what a watch says; the runs that may be concerned.
    pub fn take<K: ResourceExt>(&self, event: &Event<K>) -> Vec<ObjectRef<SynthesisRun>>
    where
        V: Kept<K>,
    {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Init => {
                inner.listed = Some(World::default());
                Vec::new()
            }
            Event::InitApply(object) => {
                inner.listed.get_or_insert_default().take(object, true);
                Vec::new()
            }
            Event::InitDone => {
                let listed = inner.listed.take().unwrap_or_default();
                let before = std::mem::replace(&mut inner.world, listed);
                inner.world.latest = inner.world.latest.max(before.latest);
                inner.is_ready = true;
                let all = before.runs.values().chain(inner.world.runs.values());
                all.map(|of_run| of_run.run.clone()).collect()
            }
            Event::Apply(object) => inner.world.take(object, true).into_iter().collect(),
            Event::Delete(object) => inner.world.take(object, false).into_iter().collect(),
        }
    }

    /// The values of the run with `uid`.
    pub fn of_run(&self, uid: &str) -> Vec<Arc<V>> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let of_run = inner.world.runs.get(uid);
        of_run
            .map(|of_run| {
                let values = of_run.values.values();
                values.map(|known| known.value.clone()).collect()
            })
            .unwrap_or_default()
    }

    /// Forgets values of the run with `uid` until they change, or are listed anew.
    pub fn forget(&self, uid: &str, is_needless: impl Fn(&V) -> bool) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_run) = inner.world.runs.get_mut(uid) {
            of_run.values.retain(|_, known| !is_needless(&known.value));
        }
    }

    /// The latest resource version that was seen.
    pub fn latest(&self) -> u64 {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.world.latest
    }

    /// Whether a first list is complete.
    pub fn is_ready(&self) -> bool {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.is_ready
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let runs = inner.world.runs.values();
        runs.map(|of_run| of_run.values.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;
    use crate::names::run_labels;
    use crate::resources::Owner;

    struct Name(String);

    impl Kept<ConfigMap> for Name {
        fn keep(object: &ConfigMap, _uid: &str) -> Option<Self> {
            object.metadata.name.clone().map(Name)
        }
    }

    fn map(name: &str, run: &str, version: u64) -> ConfigMap {
        let owner = Owner {
            name: run.into(),
            namespace: "n".into(),
            uid: format!("uid-{run}"),
        };
        let mut metadata =
            owner.metadata(name.into(), run_labels(run, &owner.uid), Default::default());
        metadata.uid = Some(format!("uid-{name}"));
        metadata.resource_version = Some(version.to_string());
        ConfigMap {
            metadata,
            ..ConfigMap::default()
        }
    }

    fn names(cache: &Cache<Name>, run: &str) -> Vec<String> {
        let values = cache.of_run(&format!("uid-{run}"));
        values.iter().map(|name| name.0.clone()).collect()
    }

    #[test]
    fn values_are_found_by_their_run_and_tell_which_to_look_at() {
        let cache: Cache<Name> = Cache::default();
        cache.take::<ConfigMap>(&Event::Init);
        cache.take(&Event::InitApply(map("a", "x", 3)));
        assert!(!cache.is_ready() && names(&cache, "x").is_empty());
        cache.take::<ConfigMap>(&Event::InitDone);
        let run = cache.take(&Event::Apply(map("b", "y", 7))).remove(0);
        assert_eq!(
            (run.name.as_str(), run.namespace.as_deref()),
            ("y", Some("n"))
        );
        assert_eq!(
            (names(&cache, "x"), names(&cache, "y")),
            (vec!["a".to_string()], vec!["b".to_string()])
        );
        assert_eq!((cache.latest(), cache.len()), (7, 2));
        cache.take(&Event::Delete(map("b", "y", 9)));
        assert_eq!((names(&cache, "y").len(), cache.latest()), (0, 9));
    }

    #[test]
    fn values_of_one_run_that_nobody_needs_are_forgotten_until_they_change() {
        let cache: Cache<Name> = Cache::default();
        for (name, run) in [("aaa", "x"), ("bb", "x"), ("ccc", "y")] {
            cache.take(&Event::Apply(map(name, run, 1)));
        }
        cache.forget("uid-x", |name| name.0.len() > 2);
        assert_eq!(
            (names(&cache, "x"), names(&cache, "y")),
            (vec!["bb".into()], vec!["ccc".into()])
        );
        cache.take(&Event::Apply(map("aaa", "x", 2)));
        assert_eq!(names(&cache, "x").len(), 2);
    }

    #[test]
    fn an_event_that_comes_late_undoes_nothing() {
        let cache: Cache<Name> = Cache::default();
        let named = |name: &str, version| {
            let mut named = map("a", "x", version);
            named.metadata.name = Some(name.into());
            named
        };
        cache.take(&Event::Apply(named("new", 9)));
        cache.take(&Event::Apply(named("old", 8)));
        assert_eq!(
            (names(&cache, "x"), cache.latest()),
            (vec!["new".into()], 9)
        );
        cache.take(&Event::Apply(named("newest", 10)));
        assert_eq!(names(&cache, "x"), ["newest"]);
    }

    #[test]
    fn a_list_replaces_what_was_there_once_it_is_complete() {
        let cache: Cache<Name> = Cache::default();
        cache.take(&Event::Apply(map("old", "x", 1)));
        cache.take::<ConfigMap>(&Event::Init);
        cache.take(&Event::InitApply(map("new", "x", 5)));
        assert_eq!(
            (names(&cache, "x"), cache.latest()),
            (vec!["old".to_string()], 1)
        );
        let runs = cache.take::<ConfigMap>(&Event::InitDone);
        assert!(!runs.is_empty(), "a list tells which runs to look at");
        assert_eq!(names(&cache, "x"), ["new"]);
    }
}
