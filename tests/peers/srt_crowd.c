/* Many SRT callers of one listener of this machine, each on a socket of its own: publishers of numbered packets, and a player
 * of each of their streams that looks for what is missing.
 *
 *   srt_crowd PORT COUNT KBPS LATENCY_MS
 *
 * It says on stdout, a line each:
 *   joined                      all callers are connected, and all players have a picture
 *   pause PLAYER MS LOST TWICE  a player has a picture again: how long it had none, and how many packets never came, or came
 *                               twice. Said where that was longer than 200 ms, or where any packet was missing or repeated
 *   second N PLAYING            each second: how many players got a picture within the last 500 ms
 *   ended publisher|player N    a connection is over
 *
 * A second of packets is a group of pictures: after a packet that never came there is no picture until the next group. */

#include <arpa/inet.h>
#include <pthread.h>
#include <srt/srt.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PACKET 1316
#define MAX_CALLERS 200

struct caller {
    int number;
    SRTSOCKET socket;
    atomic_llong shown; /* when the last picture came, in microseconds; 0: none yet */
};

static struct caller publishers[MAX_CALLERS], players[MAX_CALLERS];
static int port, count, latency;
static long long between; /* packets, in microseconds */

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000LL + time.tv_nsec / 1000;
}

static void rest(long long until) {
    struct timespec time = {.tv_sec = until / 1000000, .tv_nsec = until % 1000000 * 1000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL)) {
    }
}

static SRTSOCKET call(int number, const char *mode) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    char id[64];
    int length = snprintf(id, sizeof id, "#!::r=live/srt-%d,m=%s", number, mode);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int tries = 0; tries < 50; tries++) {
        SRTSOCKET socket = srt_create_socket();
        srt_setsockflag(socket, SRTO_STREAMID, id, length);
        srt_setsockflag(socket, SRTO_LATENCY, &latency, sizeof latency);
        if (srt_connect(socket, (struct sockaddr *)&address, sizeof address) != SRT_ERROR)
            return socket;
        srt_close(socket);
        rest(now() + 200000);
    }
    fprintf(stderr, "%s %d: %s\n", mode, number, srt_getlasterror_str());
    exit(1);
}

static void *publish(void *opaque) {
    struct caller *it = opaque;
    char packet[PACKET] = {0};
    /* Groups begin at another moment for each stream. */
    long long began = now() + it->number * 1000000LL / count;
    long long group = 1000000 / between;
    for (long long number = 0;; number++) {
        rest(began + number * between);
        packet[0] = number % group == 0;
        memcpy(packet + 8, &number, sizeof number);
        if (srt_sendmsg(it->socket, packet, sizeof packet, -1, 1) == SRT_ERROR)
            break;
    }
    printf("ended publisher %d: %s\n", it->number, srt_getlasterror_str());
    return NULL;
}

static void *play(void *opaque) {
    struct caller *it = opaque;
    char packet[1500];
    long long expected = -1, lost = 0, twice = 0, shown = 0;
    int is_whole = 0;
    while (srt_recvmsg(it->socket, packet, sizeof packet) >= PACKET) {
        long long number, at = now();
        memcpy(&number, packet + 8, sizeof number);
        if (expected >= 0 && number < expected) {
            twice++;
            continue;
        }
        if (expected >= 0 && number > expected) {
            lost += number - expected;
            is_whole = 0;
        }
        expected = number + 1;
        is_whole |= packet[0];
        if (!is_whole)
            continue;
        if (shown && (lost || twice || at - shown > 200000))
            printf("pause %d %lld %lld %lld\n", it->number, (at - shown) / 1000, lost, twice);
        lost = twice = 0;
        shown = at;
        atomic_store(&it->shown, at);
    }
    printf("ended player %d: %s\n", it->number, srt_getlasterror_str());
    return NULL;
}

static int playing(long long within) {
    int found = 0;
    for (int i = 0; i < count; i++) {
        long long shown = atomic_load(&players[i].shown);
        found += shown && now() - shown < within;
    }
    return found;
}

static void begin(struct caller *callers, const char *mode, void *(*serve)(void *)) {
    for (int i = 0; i < count; i++) {
        pthread_t thread;
        callers[i].number = i;
        callers[i].socket = call(i, mode);
        if (pthread_create(&thread, NULL, serve, &callers[i]))
            exit(1);
        pthread_detach(thread);
    }
}

int main(int arguments, char **argument) {
    if (arguments < 5)
        return 2;
    port = atoi(argument[1]);
    count = atoi(argument[2]);
    between = PACKET * 8 * 1000LL / atoi(argument[3]);
    latency = atoi(argument[4]);
    if (count > MAX_CALLERS || between <= 0)
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    srt_startup();
    srt_setloglevel(LOG_CRIT);
    begin(publishers, "publish", publish);
    begin(players, "request", play);
    while (playing(500000) < count)
        rest(now() + 20000);
    puts("joined");
    long long began = now();
    for (int second = 1;; second++) {
        rest(began + second * 1000000LL);
        printf("second %d %d\n", second, playing(500000));
    }
}
