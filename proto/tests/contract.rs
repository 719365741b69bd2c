//! Rules of the `.proto` files, which other people's programs are compiled from: where a package lies, that everything is
//! documented, and that a number, once used, keeps its meaning for ever.
//!
//! `proto/contract.lock` has every field, enum value and method that there has ever been. What is new or was taken away is
//! written into it by `OCS_PROTO_LOCK=update cargo test -p ocs-proto --test contract`; what breaks a promise is not.
#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    ServiceDescriptorProto,
};

const LOCK: &str = "contract.lock";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every `.proto` file below `folder`, relative to the package.
fn files(folder: &Path, found: &mut Vec<String>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|end| end == "proto") {
            found.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
        }
    }
}

/// Our files, compiled, with their comments.
fn compiled() -> Vec<FileDescriptorProto> {
    let mut ours = Vec::new();
    files(&root().join("ocs"), &mut ours);
    assert!(!ours.is_empty());
    let mut compiler = protox::Compiler::new([root()]).unwrap();
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(&ours).unwrap_or_else(|error| panic!("{error:?}"));
    let FileDescriptorSet { file } = compiler.file_descriptor_set();
    file.into_iter().filter(|file| ours.iter().any(|name| name == file.name())).collect()
}

#[test]
fn a_package_is_its_folder_and_ends_with_its_version() {
    for file in compiled() {
        let folder = Path::new(file.name()).parent().unwrap().to_str().unwrap().replace('/', ".");
        assert_eq!(file.package(), folder, "{}: the package is not where it lies", file.name());
        let version = folder.rsplit('.').next().and_then(|last| last.strip_prefix('v'));
        let version = version.and_then(|number| number.parse::<u32>().ok());
        assert!(version.is_some_and(|number| number > 0), "{}: the package has no version, e.g. v1", file.name());
        assert_eq!(file.syntax(), "proto3", "{}", file.name());
        for import in &file.dependency {
            let known = import.starts_with("google/protobuf/") || import.starts_with("ocs/");
            assert!(known, "{}: imports {import}, which not everybody has", file.name());
        }
    }
}

/// Visits everything that has a name: what it is, its full name, and where its comment stands.
fn named(file: &FileDescriptorProto, visit: &mut dyn FnMut(&str, &[i32])) {
    let at = |index: usize| i32::try_from(index).unwrap();
    for (index, message) in file.message_type.iter().enumerate() {
        named_in_message(message, file.package(), vec![4, at(index)], visit);
    }
    for (index, made) in file.enum_type.iter().enumerate() {
        named_in_enum(made, file.package(), vec![5, at(index)], visit);
    }
    for (index, service) in file.service.iter().enumerate() {
        let name = format!("{}.{}", file.package(), service.name());
        visit(&name, &[6, at(index)]);
        for (number, method) in service.method.iter().enumerate() {
            visit(&format!("{name}.{}", method.name()), &[6, at(index), 2, at(number)]);
        }
    }
}

fn named_in_message(message: &DescriptorProto, scope: &str, path: Vec<i32>, visit: &mut dyn FnMut(&str, &[i32])) {
    let name = format!("{scope}.{}", message.name());
    visit(&name, &path);
    let below = |kind: i32, index: usize| [path.as_slice(), &[kind, i32::try_from(index).unwrap()]].concat();
    for (index, field) in message.field.iter().enumerate() {
        visit(&format!("{name}.{}", field.name()), &below(2, index));
    }
    for (index, choice) in message.oneof_decl.iter().enumerate() {
        // An optional field is a oneof of its own that nobody wrote.
        if !choice.name().starts_with('_') {
            visit(&format!("{name}.{}", choice.name()), &below(8, index));
        }
    }
    for (index, nested) in message.nested_type.iter().enumerate() {
        named_in_message(nested, &name, below(3, index), visit);
    }
    for (index, made) in message.enum_type.iter().enumerate() {
        named_in_enum(made, &name, below(4, index), visit);
    }
}

fn named_in_enum(made: &EnumDescriptorProto, scope: &str, path: Vec<i32>, visit: &mut dyn FnMut(&str, &[i32])) {
    let name = format!("{scope}.{}", made.name());
    visit(&name, &path);
    for (index, value) in made.value.iter().enumerate() {
        let place = [path.as_slice(), &[2, i32::try_from(index).unwrap()]].concat();
        visit(&format!("{name}.{}", value.name()), &place);
    }
}

#[test]
fn everything_is_documented() {
    let mut bare = Vec::new();
    for file in compiled() {
        let info = file.source_code_info.clone().unwrap();
        let documented: BTreeSet<&[i32]> = info
            .location
            .iter()
            .filter(|place| !place.leading_comments().trim().is_empty())
            .map(|place| place.path.as_slice())
            .collect();
        named(&file, &mut |name, path| {
            if !documented.contains(path) {
                bare.push(name.to_owned());
            }
        });
    }
    assert!(bare.is_empty(), "no comment stands above {bare:#?}");
}

#[test]
fn an_enum_begins_with_unspecified_and_its_values_carry_its_name() {
    fn check(made: &EnumDescriptorProto) {
        let mut prefix = String::new();
        for c in made.name().chars() {
            if c.is_ascii_uppercase() && !prefix.is_empty() {
                prefix.push('_');
            }
            prefix.push(c.to_ascii_uppercase());
        }
        let first = made.value.first().unwrap();
        assert_eq!((first.name(), first.number()), (format!("{prefix}_UNSPECIFIED").as_str(), 0));
        for value in &made.value {
            assert!(value.name().starts_with(&format!("{prefix}_")), "{}", value.name());
        }
    }
    fn within(message: &DescriptorProto) {
        message.enum_type.iter().for_each(check);
        message.nested_type.iter().for_each(within);
    }
    for file in compiled() {
        file.enum_type.iter().for_each(check);
        file.message_type.iter().for_each(within);
    }
}

/// What a number, or a method's name, of a scope means.
type Promises = BTreeMap<(String, String), String>;

/// Numbers and names that a scope says are never used again.
#[derive(Default)]
struct Reserved {
    ranges: Vec<(i32, i32)>,
    names: BTreeSet<String>,
}

#[derive(Default)]
struct Contract {
    promises: Promises,
    reserved: BTreeMap<String, Reserved>,
}

impl Contract {
    fn of(files: &[FileDescriptorProto]) -> Self {
        let mut contract = Self::default();
        for file in files {
            file.message_type.iter().for_each(|message| contract.message(message, file.package()));
            file.enum_type.iter().for_each(|made| contract.enumeration(made, file.package()));
            file.service.iter().for_each(|service| contract.service(service, file.package()));
        }
        contract
    }

    fn message(&mut self, message: &DescriptorProto, scope: &str) {
        let name = format!("{scope}.{}", message.name());
        for field in &message.field {
            self.promises.insert((name.clone(), field.number().to_string()), meaning(field, message));
        }
        // The end of a message's range is not in it.
        let ranges = message.reserved_range.iter().map(|range| (range.start(), range.end() - 1)).collect();
        let names = message.reserved_name.iter().cloned().collect();
        self.reserved.insert(name.clone(), Reserved { ranges, names });
        message.nested_type.iter().for_each(|nested| self.message(nested, &name));
        message.enum_type.iter().for_each(|made| self.enumeration(made, &name));
    }

    fn enumeration(&mut self, made: &EnumDescriptorProto, scope: &str) {
        let name = format!("{scope}.{}", made.name());
        for value in &made.value {
            self.promises.insert((name.clone(), value.number().to_string()), value.name().to_owned());
        }
        let ranges = made.reserved_range.iter().map(|range| (range.start(), range.end())).collect();
        let names = made.reserved_name.iter().cloned().collect();
        self.reserved.insert(name, Reserved { ranges, names });
    }

    fn service(&mut self, service: &ServiceDescriptorProto, scope: &str) {
        let name = format!("{scope}.{}", service.name());
        for method in &service.method {
            let stream = |is: bool| if is { "stream " } else { "" };
            let said = format!(
                "{}{} returns {}{}",
                stream(method.client_streaming()),
                method.input_type(),
                stream(method.server_streaming()),
                method.output_type()
            );
            self.promises.insert((name.clone(), method.name().to_owned()), said);
        }
    }

    /// Whether the number and the name of what is gone are reserved; of a scope that is gone as a whole, nothing can be.
    fn reserves(&self, scope: &str, number: &str, meaning: &str) -> bool {
        let name = meaning.split(' ').next().unwrap_or_default();
        let Some(reserved) = self.reserved.get(scope) else { return true };
        let number = number.parse::<i32>().unwrap_or(-1);
        reserved.ranges.iter().any(|(first, last)| (*first..=*last).contains(&number)) && reserved.names.contains(name)
    }
}

fn meaning(field: &FieldDescriptorProto, message: &DescriptorProto) -> String {
    let kind = match field.r#type() {
        Type::Message | Type::Enum => field.type_name().to_owned(),
        scalar => format!("{scalar:?}").to_lowercase(),
    };
    let label = match (field.label(), field.oneof_index) {
        (Label::Repeated, _) => "repeated".to_owned(),
        _ if field.proto3_optional() => "optional".to_owned(),
        (_, Some(index)) => format!("oneof:{}", message.oneof_decl[usize::try_from(index).unwrap()].name()),
        _ => "single".to_owned(),
    };
    format!("{} {kind} {label}", field.name())
}

/// Lines `scope number meaning`, or `gone scope number meaning`.
fn read_lock(text: &str) -> (Promises, Promises) {
    let (mut kept, mut gone) = (Promises::new(), Promises::new());
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (into, rest) = line.strip_prefix("gone ").map_or((&mut kept, line), |rest| (&mut gone, rest));
        let mut words = rest.splitn(3, ' ');
        let mut word = || words.next().unwrap_or_else(|| panic!("{LOCK}: {line}")).to_owned();
        into.insert((word(), word()), word());
    }
    (kept, gone)
}

fn write_lock(kept: &Promises, gone: &Promises) -> String {
    let mut text =
        "# Every field, enum value and method there has ever been: scope, number or name, meaning. Written by\n\
                    # OCS_PROTO_LOCK=update cargo test -p ocs-proto --test contract\n"
            .to_owned();
    for (mark, promises) in [("", kept), ("gone ", gone)] {
        for ((scope, number), meaning) in promises {
            text.push_str(&format!("{mark}{scope} {number} {meaning}\n"));
        }
    }
    text
}

/// What breaks a promise, what is new, and what is gone in good order.
fn compare(now: &Contract, kept: &Promises, gone: &Promises) -> (Vec<String>, Vec<String>) {
    let (mut broken, mut changed) = (Vec::new(), Vec::new());
    for (key @ (scope, number), was) in kept {
        match now.promises.get(key) {
            Some(is) if is == was => {}
            Some(is) => broken.push(format!("{scope} {number} was '{was}' and is now '{is}': take a new number")),
            None if now.reserves(scope, number, was) => changed.push(format!("{scope} {number} '{was}' is gone")),
            None => broken.push(format!("{scope} {number} '{was}' is gone: reserve its number and its name")),
        }
    }
    for (key @ (scope, number), is) in &now.promises {
        if let Some(was) = gone.get(key) {
            broken.push(format!("{scope} {number} was '{was}' once and may not become '{is}'"));
        } else if !kept.contains_key(key) {
            changed.push(format!("{scope} {number} '{is}' is new"));
        }
    }
    (broken, changed)
}

#[test]
fn no_number_changes_its_meaning() {
    let path = root().join(LOCK);
    let (kept, mut gone) = read_lock(&std::fs::read_to_string(&path).unwrap_or_default());
    let now = Contract::of(&compiled());
    let (broken, changed) = compare(&now, &kept, &gone);
    assert!(broken.is_empty(), "programs that others have compiled would misread: {broken:#?}");
    if std::env::var("OCS_PROTO_LOCK").is_ok_and(|wish| wish == "update") {
        gone.extend(kept.into_iter().filter(|(key, _)| !now.promises.contains_key(key)));
        std::fs::write(&path, write_lock(&now.promises, &gone)).unwrap();
        return;
    }
    assert!(changed.is_empty(), "{LOCK} does not know yet: {changed:#?}\nrun with OCS_PROTO_LOCK=update and commit it");
}

#[test]
fn what_breaks_a_promise_is_found() {
    let promises = |lines: &str| read_lock(lines);
    let (kept, gone) =
        promises("a.M 1 x int32 single\na.M 2 y string single\na.M 3 z bool single\ngone a.M 4 old bool single");
    let mut now = Contract {
        promises: promises("a.M 1 x int64 single\na.M 4 new bool single\na.M 5 w bool single").0,
        ..Contract::default()
    };
    let names = BTreeSet::from(["z".to_owned()]);
    now.reserved.insert("a.M".to_owned(), Reserved { ranges: vec![(3, 3)], names });
    let (broken, changed) = compare(&now, &kept, &gone);
    assert_eq!(
        broken,
        [
            "a.M 1 was 'x int32 single' and is now 'x int64 single': take a new number",
            "a.M 2 'y string single' is gone: reserve its number and its name",
            "a.M 4 was 'old bool single' once and may not become 'new bool single'",
        ]
    );
    assert_eq!(changed, ["a.M 3 'z bool single' is gone", "a.M 5 'w bool single' is new"]);
    assert_eq!(read_lock(&write_lock(&kept, &gone)), (kept, gone));
}
