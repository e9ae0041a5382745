/* A small SRT origin on libsrt: whoever publishes a resource is sent on to all who play it, on one port.
 *
 *   srt_origin PORT [PASSPHRASE [words]]
 *
 * It acts on the stream id in its listen callback, as origins do: r=APP/STREAM, m=publish or m=request, and a plain
 * APP/STREAM is played. With `words`, it takes only publish:PATH and read:PATH instead, as MediaMTX does. The app
 * `secret` is forbidden (1403), and so is a stream nobody publishes (1404).
 * It says on stdout what happens, a line each: `publish live/a`, `play live/a`, `gone live/a`. */

#include <arpa/inet.h>
#include <pthread.h>
#include <srt/access_control.h>
#include <srt/srt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLIENTS 512
#define NAME 513

struct client {
    SRTSOCKET socket;
    int publishes;
    char resource[NAME];
};

static struct client clients[CLIENTS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int by_words;

/* The first field of an id in words is the direction, the second one the path. */
static void read_words(const char *id, char *resource, int *publishes) {
    const char *path = strchr(id, ':');
    *publishes = strncmp(id, "publish:", 8) == 0;
    *resource = 0;
    if (*publishes || strncmp(id, "read:", 5) == 0)
        snprintf(resource, NAME, "%.*s", (int)strcspn(path + 1, ":"), path + 1);
}

static void read_stream_id(const char *id, char *resource, int *publishes) {
    char text[NAME];
    if (by_words) {
        read_words(id, resource, publishes);
        return;
    }
    snprintf(text, sizeof text, "%s", id);
    *publishes = 0;
    snprintf(resource, NAME, "%s", id);
    if (strncmp(text, "#!::", 4) != 0)
        return;
    *resource = 0;
    for (char *save, *pair = strtok_r(text + 4, ",", &save); pair; pair = strtok_r(NULL, ",", &save)) {
        if (strncmp(pair, "r=", 2) == 0)
            snprintf(resource, NAME, "%s", pair + 2);
        if (strcmp(pair, "m=publish") == 0)
            *publishes = 1;
    }
}

static int is_published(const char *resource) {
    int found = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < CLIENTS; i++)
        found |= clients[i].socket && clients[i].publishes && strcmp(clients[i].resource, resource) == 0;
    pthread_mutex_unlock(&lock);
    return found;
}

static int asked(void *opaque, SRTSOCKET socket, int version, const struct sockaddr *peer, const char *id) {
    char resource[NAME];
    int publishes;
    (void)opaque, (void)version, (void)peer;
    read_stream_id(id ? id : "", resource, &publishes);
    if (by_words && !*resource)
        return -1;
    if (strncmp(resource, "secret/", 7) == 0)
        return srt_setrejectreason(socket, SRT_REJX_FORBIDDEN), -1;
    if (!publishes && !is_published(resource))
        return srt_setrejectreason(socket, SRT_REJX_NOTFOUND), -1;
    return 0;
}

static void *serve(void *opaque) {
    struct client *client = opaque;
    char packet[1500];
    int length;
    printf("%s %s\n", client->publishes ? "publish" : "play", client->resource);
    while ((length = srt_recvmsg(client->socket, packet, sizeof packet)) > 0) {
        if (!client->publishes)
            continue;
        pthread_mutex_lock(&lock);
        for (int i = 0; i < CLIENTS; i++)
            if (clients[i].socket && !clients[i].publishes && strcmp(clients[i].resource, client->resource) == 0)
                srt_sendmsg(clients[i].socket, packet, length, -1, 1);
        pthread_mutex_unlock(&lock);
    }
    printf("gone %s\n", client->resource);
    pthread_mutex_lock(&lock);
    SRTSOCKET gone = client->socket;
    client->socket = 0;
    pthread_mutex_unlock(&lock);
    srt_close(gone);
    return NULL;
}

int main(int count, char **arguments) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(count > 1 ? atoi(arguments[1]) : 0)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setvbuf(stdout, NULL, _IOLBF, 0);
    srt_startup();
    srt_setloglevel(LOG_CRIT);
    SRTSOCKET listener = srt_create_socket();
    int no = 0;
    by_words = count > 3 && strcmp(arguments[3], "words") == 0;
    if (count > 2 && *arguments[2])
        srt_setsockflag(listener, SRTO_PASSPHRASE, arguments[2], strlen(arguments[2]));
    srt_setsockflag(listener, SRTO_SNDSYN, &no, sizeof no);
    srt_listen_callback(listener, asked, NULL);
    if (srt_bind(listener, (struct sockaddr *)&address, sizeof address) || srt_listen(listener, 200)) {
        fprintf(stderr, "cannot listen: %s\n", srt_getlasterror_str());
        return 1;
    }
    puts("listening");
    for (;;) {
        SRTSOCKET socket = srt_accept(listener, NULL, NULL);
        if (socket == SRT_INVALID_SOCK)
            continue;
        char id[NAME] = "";
        int length = NAME - 1;
        srt_getsockflag(socket, SRTO_STREAMID, id, &length);
        srt_setsockflag(socket, SRTO_SNDSYN, &no, sizeof no);
        pthread_mutex_lock(&lock);
        struct client *free_place = NULL;
        for (int i = 0; i < CLIENTS && !free_place; i++)
            if (!clients[i].socket)
                free_place = &clients[i];
        if (free_place) {
            read_stream_id(id, free_place->resource, &free_place->publishes);
            free_place->socket = socket;
        }
        pthread_mutex_unlock(&lock);
        pthread_t thread;
        if (!free_place || pthread_create(&thread, NULL, serve, free_place))
            srt_close(socket);
        else
            pthread_detach(thread);
    }
}
