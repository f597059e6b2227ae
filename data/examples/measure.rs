#![allow(clippy::all, clippy::print_stdout, missing_docs, clippy::unwrap_used)]
use data::{*, source::{crates::*, lockfile::*}, tagger::*, dedup::*, filter::*, mix::*, split::*, tokenizer::*, shard::*};
use std::{path::{Path, PathBuf}, time::Instant, collections::BTreeMap};
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let root = PathBuf::from(&args[1]);
    let names: Vec<&str> = args[2].split(',').collect();
    let _ = std::fs::remove_dir_all(&root);
    let cache = vec![PathBuf::from(std::env::var("HOME").unwrap()).join(".cargo/registry/cache")];
    let lock = parse_lockfile(&std::fs::read_to_string("Cargo.lock").unwrap()).unwrap();
    let mut refs = vec![];
    for name in &names {
        let (n, v) = name.split_once('@').map(|(n,v)|(n,Some(v))).unwrap_or((name,None));
        let found: Vec<_> = lock.iter().filter(|p| p.name==n && v.is_none_or(|v| p.version.starts_with(v))).collect();
        let Some(p) = found.last() else { println!("no {name}"); continue };
        refs.push(CrateRef{name:p.name.clone(),version:p.version.clone(),sha256:p.checksum.clone().unwrap()});
    }
    let d = |s:&str| root.join(s);
    if args.get(3).is_some() {
        for r in &refs { match read_crates(std::slice::from_ref(r), &cache, &d("one"), &()) { Ok(k) => { let g=|s:&str| k.get(s).map_or(0,|t|t.bytes); println!("{:>9} {:>9} {:>9}  {}-{}", g("prose"), g("docs"), g("code"), r.name, r.version) }, Err(e)=>println!("{e}") } }
    }
    let t = |label:&str, f:&mut dyn FnMut()| { let s=Instant::now(); f(); println!("{label:<12} {:.2} s", s.elapsed().as_secs_f64()); };
    t("crates", &mut || println!("{:?}", read_crates(&refs, &cache, &d("raw"), &()).unwrap()));
    for name in ["gopher","c4","pii","language"] { t(name, &mut || { tag(&d("raw"), &d("x"), &taggers(&[name]).unwrap(), &()).unwrap(); }); }
    t("tag", &mut || { println!("{:?}", tag(&d("raw"), &d("tagged"), &taggers(&["gopher","c4","pii","language"]).unwrap(), &()).unwrap()); });
    t("dedup doc", &mut || println!("{:?}", dedup(&d("tagged"), &d("dedup"), &DedupBy::Document, &()).unwrap()));
    t("dedup par", &mut || println!("{:?}", dedup(&d("raw"), &d("x2"), &DedupBy::paragraph(), &()).unwrap()));
    t("filter", &mut || println!("{:?}", filter(&d("dedup"), &d("clean"), &|doc| { let s=summary(doc); Ok(s["gopher"]["word_count"]>=50.0 && s["pii"]["count"]<5.0) }, &()).unwrap()));
    t("mix", &mut || println!("{:?}", mix(&[&d("clean")], &d("mixed"), &MixParams::new(BTreeMap::from([("prose".into(),0.2),("docs".into(),0.4),("code".into(),0.4)]),1), &()).unwrap()));
    t("split", &mut || println!("{:?}", split(&d("mixed"), &d("train"), &[HeldOut{dir:&d("valid"),fraction:0.01}], 1, &()).unwrap()));
    let mut tok = None;
    t("train tok", &mut || tok=Some(train_tokenizer(&[&d("train")], &TokenizerParams::new(4096), &()).unwrap()));
    let tok = tok.unwrap();
    tok.save(&d("tok")).unwrap();
    t("tokenize", &mut || { let m = tokenize(&[&d("train")], &tok, &d("tokens"), &()).unwrap(); println!("{:?} {:?} b/t {:.2}", m.tokens(), m.totals(), m.totals().bytes as f64/m.tokens() as f64) });
    t("tokenize raw", &mut || { let m = tokenize(&[&d("raw")], &tok, &d("tokens2"), &()).unwrap(); println!("{:?} {:?}", m.tokens(), m.totals()) });
    let _ = Path::new("");
}
