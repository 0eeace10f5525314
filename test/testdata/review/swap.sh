# Removes the host's socket's second name and puts a link to a file of the host's there.
busybox rm -f /dev/.devlog-host
busybox ln -s /etc/passwd /dev/.devlog-host
busybox sleep 1
exit 3 # the host's messages are lost until its daemon is started again
