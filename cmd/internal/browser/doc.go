// Package browser tests the worker's pages in a real browser: headless Chromium,
// driven over its debugging pipe, against the built commands, a real redis-server
// and portals in a box. Its tests need chromium and so have a build tag; make
// test/browser runs them, and make screenshots takes the README's pictures.
package browser
