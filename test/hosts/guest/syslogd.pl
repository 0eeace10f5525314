#!/usr/bin/perl
# syslogd.pl FILE: a syslog daemon that, as rsyslog and syslog-ng do, takes the name
# /dev/log even where it is a link; busybox syslogd follows that.
use strict;
use Socket;

open(my $log, '>>', $ARGV[0]) or die "$ARGV[0]: $!";
socket(my $socket, AF_UNIX, SOCK_DGRAM, 0) or die $!;
unlink '/dev/log';
bind($socket, pack_sockaddr_un('/dev/log')) or die "/dev/log: $!";
chmod 0666, '/dev/log';
while (defined recv($socket, my $message, 65536, 0)) {
	syswrite $log, "$message\n";
}
