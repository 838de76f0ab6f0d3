// Package version says which build this is: from what the toolchain records of the
// module and its repository, or, where an image is built without the repository,
// from what the linker was told.
package version

import (
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
)

// What the linker is told where the toolchain cannot know it:
//
//	go build -ldflags "-X botfleet/cmd/internal/version.release=v1.2.0 \
//	  -X botfleet/cmd/internal/version.commit=$(git rev-parse HEAD) \
//	  -X botfleet/cmd/internal/version.date=$(git log -1 --format=%cI)"
//
// The linker can set nothing but package variables; no code writes to these. What
// the toolchain has recorded itself beats commit and date.
var release, commit, date string

// Build is what is known of a build. What is not known is empty.
type Build struct {
	Version  string // v1.2.0, v1.2.1-0.20261122195811-b462825cafe0, or devel
	Commit   string // as git has it, whole where that is known
	Date     string // of the commit, RFC 3339
	Modified bool   // built from files that were not committed
	Go       string // the toolchain: go1.26.0
	Platform string // linux/amd64
}

// Current is the build of this program.
func Current() Build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return read(info, Build{Version: release, Commit: commit, Date: date})
}

// String is the version in one word, for a User-Agent or a metric's label.
func String() string { return Current().String() }

// Long is the version with all that is known of the build, in one line.
func Long() string { return Current().Long() }

// devel is the version of a build that has none.
const devel = "devel"

// pseudo is the end of a version that the toolchain makes of a commit: its time and
// its first 12 digits.
var pseudo = regexp.MustCompile(`[-.](\d{14})-([0-9a-f]{12})$`)

// read makes a build of what the toolchain recorded and what the linker was told.
func read(info *debug.BuildInfo, told Build) Build {
	b := Build{Go: info.GoVersion, Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if b.Go == "" {
		b.Go = runtime.Version()
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.time":
			b.Date = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	main := info.Main.Version
	if cut, dirty := strings.CutSuffix(main, "+dirty"); dirty {
		main, b.Modified = cut, true
	}
	if b.Version = word(told.Version); b.Version == "" {
		b.Version = main
	}
	if b.Version == "" || b.Version == "(devel)" {
		b.Version = devel
	}
	if b.Commit == "" {
		if b.Commit = word(told.Commit); b.Commit == "" {
			if m := pseudo.FindStringSubmatch(main); m != nil {
				b.Commit = m[2]
			}
		}
	}
	if b.Date == "" {
		b.Date = word(told.Date)
	}
	return b
}

// word is what was told, as one word: what stands in a User-Agent must not break it.
func word(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' || strings.ContainsRune(`"(),/;<=>?@[\]{}`, r) {
			return -1
		}
		return r
	}, s)
}

// shownCommit is how many digits of a commit are shown.
const shownCommit = 12

func (b Build) shortCommit() string { return b.Commit[:min(len(b.Commit), shownCommit)] }

// String is the version in one word: v1.2.0, devel-b462825cafe0, v1.2.0-modified.
func (b Build) String() string {
	s := b.Version
	if s == devel && b.Commit != "" {
		s += "-" + b.shortCommit()
	}
	if b.Modified {
		s += "-modified"
	}
	return s
}

// Long is the version and where it comes from:
// v1.2.0 (commit b462825cafe0, 2026-11-22T19:58:11Z, modified, go1.26.0 linux/amd64).
func (b Build) Long() string {
	var parts []string
	if b.Commit != "" {
		parts = append(parts, "commit "+b.shortCommit())
	} else {
		parts = append(parts, "commit not known")
	}
	if b.Date != "" {
		parts = append(parts, b.Date)
	}
	if b.Modified {
		parts = append(parts, "modified")
	}
	return b.Version + " (" + strings.Join(append(parts, b.Go+" "+b.Platform), ", ") + ")"
}
