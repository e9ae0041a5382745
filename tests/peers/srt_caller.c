/* Calls an SRT listener of this machine as libsrt's callers do, and says what came of it.
 *
 *   srt_caller PORT STREAMID [PASSPHRASE]
 *
 * It says `joined`, or `rejected` and libsrt's reason, and ends. */

#include <arpa/inet.h>
#include <srt/srt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int count, char **arguments) {
    if (count < 3)
        return 2;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(arguments[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    srt_startup();
    srt_setloglevel(LOG_CRIT);
    SRTSOCKET socket = srt_create_socket();
    srt_setsockflag(socket, SRTO_STREAMID, arguments[2], strlen(arguments[2]));
    if (count > 3)
        srt_setsockflag(socket, SRTO_PASSPHRASE, arguments[3], strlen(arguments[3]));
    if (srt_connect(socket, (struct sockaddr *)&address, sizeof address) == SRT_ERROR)
        printf("rejected %d\n", srt_getrejectreason(socket));
    else
        puts("joined");
    srt_close(socket);
    srt_cleanup();
    return 0;
}
