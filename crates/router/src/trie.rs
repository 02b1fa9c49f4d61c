//! Subscriptions to patterns with wildcards: a trie over tokens.

use std::num::NonZeroU32;

use carillon_wire::{Pattern, Topic, topic::MAX_TOKENS};

use crate::{
    arena::Arena,
    hash_index::HashIndex,
    subscribers::{Subscriber, Subscribers},
    tokens::Tokens,
};

/// The node of the empty prefix. It is always there and nobody's child.
const ROOT: u32 = 0;

/// Subscribers by pattern. A node stands for the first tokens of at least one pattern. Its children by token are in one
/// table for all nodes, its child by `*` in the node.
#[derive(Debug)]
pub(crate) struct Trie {
    nodes: Arena<Node>,
    tokens: Tokens,
    /// From (node, token) to the child, whose own fields hold that key.
    children: HashIndex,
}

#[derive(Debug)]
struct Node {
    parent: u32,
    edge: Edge,
    /// Children by token; without any, the table is not asked.
    literal_children: u32,
    any_child: Option<NonZeroU32>,
    /// Of the pattern that ends here.
    here: Subscribers,
    /// Of the pattern that ends with `>` behind this node.
    rest: Subscribers,
}

/// What leads from the parent to a node: `*`, or a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edge {
    Any,
    Literal(u32),
}

/// Which of a node's lists a pattern has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Here,
    Rest,
}

impl Default for Trie {
    fn default() -> Self {
        let mut nodes = Arena::new();
        let root = nodes.insert(Node::new(ROOT, Edge::Any));
        debug_assert_eq!(root, ROOT);
        Self { nodes, tokens: Tokens::default(), children: HashIndex::default() }
    }
}

impl Trie {
    /// Adds a subscriber; tells the pattern's node, which list of it, and the subscriber's position there.
    pub(crate) fn insert(&mut self, pattern: Pattern<'_>, subscriber: Subscriber) -> (u32, End, u32) {
        let mut index = ROOT;
        let mut end = End::Here;
        for token in pattern.tokens() {
            match token {
                ">" => end = End::Rest,
                "*" => index = self.any_child_or_insert(index),
                literal => index = self.literal_child_or_insert(index, literal),
            }
        }
        let position = self.nodes.get_mut(index).map_or(0, |node| node.list_mut(end).push(subscriber));
        (index, end, position)
    }

    /// The pattern of a list, put together from the edges above its node.
    pub(crate) fn pattern(&self, index: u32, end: End) -> Option<String> {
        let mut tokens = Vec::new();
        if end == End::Rest {
            tokens.push(">");
        }
        let mut node = index;
        while node != ROOT {
            let Node { parent, edge, .. } = self.nodes.get(node)?;
            tokens.push(match edge {
                Edge::Any => "*",
                Edge::Literal(token) => self.tokens.text(*token)?,
            });
            node = *parent;
        }
        tokens.reverse();
        Some(tokens.join("."))
    }

    /// Shows each pattern with its subscribers.
    pub(crate) fn for_each_pattern(&self, mut show: impl FnMut(&str, &[Subscriber])) {
        for (index, node) in self.nodes.iter() {
            for (end, list) in [(End::Here, &node.here), (End::Rest, &node.rest)] {
                if !list.is_empty()
                    && let Some(pattern) = self.pattern(index, end)
                {
                    show(&pattern, list.as_slice());
                }
            }
        }
    }

    /// The subscribers of a list.
    pub(crate) fn list(&self, index: u32, end: End) -> &[Subscriber] {
        let Some(node) = self.nodes.get(index) else { return &[] };
        match end {
            End::Here => node.here.as_slice(),
            End::Rest => node.rest.as_slice(),
        }
    }

    /// Removes the subscriber at a position, and returns the one that takes it.
    pub(crate) fn remove(&mut self, index: u32, end: End, position: u32) -> Option<Subscriber> {
        let moved = self.nodes.get_mut(index)?.list_mut(end).swap_remove(position);
        self.prune(index);
        moved
    }

    /// Shows each list of subscribers whose pattern matches the topic, and tells how many nodes were visited.
    pub(crate) fn for_each_match<'t>(&'t self, topic: Topic<'_>, on_match: impl FnMut(&'t [Subscriber])) -> u32 {
        if self.nodes.len() == 1 && self.nodes.get(ROOT).is_none_or(Node::is_unused) {
            return 0;
        }
        let mut buffer = [None; MAX_TOKENS];
        let mut depth = 0;
        for (place, token) in buffer.iter_mut().zip(topic.tokens()) {
            *place = self.tokens.find(token);
            depth += 1;
        }
        let tokens = buffer.get(..depth).unwrap_or_default();
        let mut walk = Walk { trie: self, on_match, visited: 0 };
        walk.visit(ROOT, tokens, topic.is_reserved());
        walk.visited
    }

    fn literal_child(&self, parent: u32, token: u32) -> Option<u32> {
        self.children.find(&(parent, token), |child| {
            let child = self.nodes.get(child);
            child.is_some_and(|child| child.parent == parent && child.edge == Edge::Literal(token))
        })
    }

    fn literal_child_or_insert(&mut self, parent: u32, text: &str) -> u32 {
        let known = self.tokens.find(text).and_then(|token| self.literal_child(parent, token));
        known.unwrap_or_else(|| {
            let token = self.tokens.acquire(text);
            let child = self.nodes.insert(Node::new(parent, Edge::Literal(token)));
            self.children.insert(&(parent, token), child);
            if let Some(parent) = self.nodes.get_mut(parent) {
                parent.literal_children += 1;
            }
            child
        })
    }

    fn any_child_or_insert(&mut self, parent: u32) -> u32 {
        if let Some(child) = self.nodes.get(parent).and_then(|parent| parent.any_child) {
            return child.get();
        }
        let child = self.nodes.insert(Node::new(parent, Edge::Any));
        if let Some(parent) = self.nodes.get_mut(parent) {
            parent.any_child = NonZeroU32::new(child);
        }
        child
    }

    /// Frees a node that no pattern needs any more, and then those above it.
    fn prune(&mut self, mut index: u32) {
        while index != ROOT && self.nodes.get(index).is_some_and(Node::is_unused) {
            let Some(node) = self.nodes.remove(index) else { return };
            let Some(parent) = self.nodes.get_mut(node.parent) else { return };
            match node.edge {
                Edge::Any => parent.any_child = None,
                Edge::Literal(token) => {
                    parent.literal_children -= 1;
                    self.children.remove(&(node.parent, token), index);
                    self.tokens.release(token);
                }
            }
            index = node.parent;
        }
        if self.nodes.len() == 1 {
            self.nodes.trim();
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.len() == 1
            && self.nodes.get(ROOT).is_some_and(Node::is_unused)
            && self.children.len() == 0
            && self.tokens.is_empty()
    }
}

impl Node {
    const fn new(parent: u32, edge: Edge) -> Self {
        let (here, rest) = (Subscribers::None, Subscribers::None);
        Self { parent, edge, literal_children: 0, any_child: None, here, rest }
    }

    const fn list_mut(&mut self, end: End) -> &mut Subscribers {
        match end {
            End::Here => &mut self.here,
            End::Rest => &mut self.rest,
        }
    }

    const fn is_unused(&self) -> bool {
        self.literal_children == 0 && self.any_child.is_none() && self.here.is_empty() && self.rest.is_empty()
    }
}

/// One walk through the trie, for one topic.
struct Walk<'t, F> {
    trie: &'t Trie,
    on_match: F,
    visited: u32,
}

impl<'t, F: FnMut(&'t [Subscriber])> Walk<'t, F> {
    /// Visits a node with the tokens that are left; one that no pattern has is `None`. The depth is at most
    /// [`MAX_TOKENS`]. `is_reserved` is about the first token: no wildcard stands for a topic of the broker's own.
    fn visit(&mut self, index: u32, tokens: &[Option<u32>], is_reserved: bool) {
        let Some(node) = self.trie.nodes.get(index) else { return };
        self.visited += 1;
        let Some((token, tokens)) = tokens.split_first() else {
            self.show(&node.here);
            return;
        };
        if node.literal_children > 0
            && let Some(token) = *token
            && let Some(child) = self.trie.literal_child(index, token)
        {
            self.visit(child, tokens, false);
        }
        if is_reserved {
            return;
        }
        self.show(&node.rest);
        if let Some(child) = node.any_child {
            self.visit(child.get(), tokens, false);
        }
    }

    fn show(&mut self, subscribers: &'t Subscribers) {
        if !subscribers.is_empty() {
            (self.on_match)(subscribers.as_slice());
        }
    }
}
