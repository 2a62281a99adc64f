#!/bin/sh
# The browser tests drive a Chromium and a Firefox that the system has; where it lacks one and apt-get may be used, install it.
has() { for name in "$@"; do command -v "$name" >/dev/null && return 0; done; return 1; }
install() {
  if [ "$(id -u)" = 0 ]; then as_root=; else as_root='sudo -n'; fi
  command -v apt-get >/dev/null && $as_root true 2>/dev/null &&
    $as_root apt-get update -qq && $as_root apt-get install -y -qq --no-install-recommends "$1" >/dev/null
}
has "${FIREFOX:-firefox}" firefox firefox-esr || install firefox-esr ||
  echo 'NOT TESTED: Firefox, which is not here. Install it (Debian: apt-get install firefox-esr), or name the program in FIREFOX.' >&2
# The headless shell opens a page in a third of the processor time of the full Chromium.
has "${CHROMIUM:-chromium-headless-shell}" chromium-headless-shell chromium chromium-browser google-chrome ||
  install chromium-headless-shell || install chromium || {
  echo 'The browser tests need Chromium or Chrome. Install one (Debian: apt-get install chromium), or name the program:' >&2
  echo '    make test CHROMIUM=/path/to/chrome' >&2
  exit 1
}
