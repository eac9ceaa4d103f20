//! Which paths a source file mentions, outside its tests.
//!
//! Names are followed through `use` (renamings and groups too), `super` and `self`; tokens of macros and
//! attributes count as well. A path starts with `crate` when it leads into this crate, and with the
//! crate's name otherwise. What is not followed: what another room re-exports.

use std::collections::HashMap;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

/// A path, where it stands.
#[derive(Debug)]
pub(crate) struct Mention {
    /// Line, from 1.
    pub(crate) line: usize,
    /// Its segments from the crate on; the last is `*` in a glob.
    pub(crate) path: Vec<String>,
}

/// All paths of a file that stands at `module` in its crate.
pub(crate) fn mentions(text: &str, module: &[String]) -> Result<Vec<Mention>, syn::Error> {
    let file = syn::parse_file(text)?;
    let mut reader = Reader { module: module.to_vec(), ..Reader::default() };
    if !only_in_tests(&file.attrs) {
        // Twice, as a name may be used above the line that brings it in.
        reader.visit_file(&file);
        reader.found.clear();
        reader.visit_file(&file);
    }
    Ok(reader.found)
}

/// The modules in files of their own that this file declares for tests only, as paths in the crate.
pub(crate) fn test_modules(text: &str, module: &[String]) -> Vec<Vec<String>> {
    fn look(items: &[syn::Item], at: &[String], found: &mut Vec<Vec<String>>) {
        for item in items {
            let syn::Item::Mod(item) = item else { continue };
            let path: Vec<String> = at.iter().cloned().chain([item.ident.to_string()]).collect();
            match &item.content {
                None if only_in_tests(&item.attrs) => found.push(path),
                None => {}
                Some((_, items)) => look(items, &path, found),
            }
        }
    }
    let mut found = Vec::new();
    if let Ok(file) = syn::parse_file(text) {
        look(&file.items, module, &mut found);
    }
    found
}

/// `#[test]`, `#[cfg(test)]`, `#[cfg(all(test, …))]`, but not `any` or `not`.
fn only_in_tests(attrs: &[syn::Attribute]) -> bool {
    fn wants_test(meta: &syn::Meta) -> bool {
        match meta {
            syn::Meta::Path(path) => path.is_ident("test"),
            syn::Meta::List(list) if list.path.is_ident("all") => list
                .parse_args_with(syn::punctuated::Punctuated::<syn::Meta, syn::Token![,]>::parse_terminated)
                .is_ok_and(|metas| metas.iter().any(wants_test)),
            _ => false,
        }
    }
    attrs.iter().any(|attr| match &attr.meta {
        syn::Meta::Path(path) => path.is_ident("test"),
        syn::Meta::List(list) if list.path.is_ident("cfg") => {
            list.parse_args::<syn::Meta>().is_ok_and(|meta| wants_test(&meta))
        }
        _ => false,
    })
}

#[derive(Default)]
struct Reader {
    module: Vec<String>,
    /// What a name of this module stands for; several where scopes differ.
    names: HashMap<(Vec<String>, String), Vec<Vec<String>>>,
    found: Vec<Mention>,
}

impl Reader {
    fn mention(&mut self, line: usize, written: &[String]) {
        for path in self.resolve(written) {
            self.found.push(Mention { line, path });
        }
    }

    /// What a path may mean: its first segment is a way through this crate, an imported name, or a crate.
    fn resolve(&self, written: &[String]) -> Vec<Vec<String>> {
        let Some(first) = written.first() else { return Vec::new() };
        let in_crate = |module: &[String], rest: &[String]| {
            let root = ["crate".to_owned()];
            vec![root.iter().chain(module).chain(rest).cloned().collect::<Vec<_>>()]
        };
        match first.as_str() {
            "crate" | "borges" => in_crate(&[], &written[1..]),
            "self" | "super" => {
                let ups = written.iter().take_while(|s| *s == "super" || *s == "self").count();
                let climbs = written[..ups].iter().filter(|s| *s == "super").count();
                let at = &self.module[..self.module.len().saturating_sub(climbs)];
                in_crate(at, &written[ups..])
            }
            name => match self.names.get(&(self.module.clone(), name.to_owned())) {
                Some(meanings) => {
                    meanings.iter().map(|stem| stem.iter().chain(&written[1..]).cloned().collect()).collect()
                }
                None => vec![written.to_vec()],
            },
        }
    }

    fn tree(&mut self, tree: &syn::UseTree, stem: &mut Vec<String>) {
        match tree {
            syn::UseTree::Path(path) => {
                stem.push(path.ident.to_string());
                self.tree(&path.tree, stem);
                stem.pop();
            }
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(tree, stem)),
            syn::UseTree::Glob(glob) => self.leaf(stem, Some("*"), None, glob.star_token.spans[0]),
            syn::UseTree::Name(name) if name.ident == "self" => {
                self.leaf(stem, None, stem.last().cloned(), name.ident.span());
            }
            syn::UseTree::Name(name) => {
                let ident = name.ident.to_string();
                self.leaf(stem, Some(&ident), Some(ident.clone()), name.ident.span());
            }
            syn::UseTree::Rename(rename) => {
                let ident = rename.ident.to_string();
                let last = (ident != "self").then_some(ident.as_str());
                self.leaf(stem, last, Some(rename.rename.to_string()), rename.ident.span());
            }
        }
    }

    fn leaf(&mut self, stem: &[String], last: Option<&str>, name: Option<String>, span: proc_macro2::Span) {
        let written: Vec<String> = stem.iter().cloned().chain(last.map(str::to_owned)).collect();
        self.mention(span.start().line, &written);
        // `use tokio;` brings in nothing that the name does not say already.
        if let Some(name) = name.filter(|name| written != [name.clone()]) {
            for meaning in self.resolve(&written) {
                let meanings = self.names.entry((self.module.clone(), name.clone())).or_default();
                if !meanings.contains(&meaning) {
                    meanings.push(meaning);
                }
            }
        }
    }

    /// Paths among the tokens of a macro or an attribute: names joined by `::`.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let (mut line, mut colons) = (0, 0);
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 || path.is_empty() {
                        self.end(line, &mut path);
                        line = ident.span().start().line;
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    self.end(line, &mut path);
                    self.tokens(group.stream());
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {
                    self.end(line, &mut path);
                    colons = 0;
                }
            }
        }
        self.end(line, &mut path);
    }

    /// Ends a path; a name alone among tokens is a variable as likely as a crate.
    fn end(&mut self, line: usize, path: &mut Vec<String>) {
        if path.len() > 1 {
            self.mention(line, path);
        }
        path.clear();
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !only_in_tests(item_attrs(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !only_in_tests(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&item.tree, &mut Vec::new());
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        let ident = item.ident.to_string();
        let name = item.rename.as_ref().map(|(_, name)| name.to_string());
        self.leaf(&[], Some(&ident), name, item.ident.span());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let written: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        // A name alone that nothing brought in is a variable, or an item of this module.
        let known = |name: &String| self.names.contains_key(&(self.module.clone(), name.clone()));
        let somewhere = path.leading_colon.is_some() || written.len() > 1 || written.iter().any(known);
        if let Some(first) = path.segments.first().filter(|_| somewhere) {
            self.mention(first.ident.span().start().line, &written);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        visit::visit_path(self, &mac.path);
        self.tokens(mac.tokens.clone());
    }

    fn visit_attribute(&mut self, attr: &'ast syn::Attribute) {
        match &attr.meta {
            syn::Meta::List(list) => self.tokens(list.tokens.clone()),
            syn::Meta::Path(path) => self.visit_path(path),
            syn::Meta::NameValue(_) => {}
        }
    }
}

fn item_attrs(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::ExternCrate(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::ForeignMod(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::TraitAlias(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Union(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
