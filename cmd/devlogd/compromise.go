//go:build compromise

package main

import _ "devlog/test/compromise"
