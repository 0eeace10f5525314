# Says that messages were lost, under the receiver's own name, and that another program wrote them.
client devlogd 13 "4711 messages lost (made up)"
client "devlogd[1]" 13 "ends: made up"
exit 0
