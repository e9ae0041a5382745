// An RTSP origin made of live555: raw H.264 from a file, under names of any depth.
//
//   live555_server PORT FILE NAME...
//
// Prints `listening`, and serves on 127.0.0.1 only.

#include <BasicUsageEnvironment.hh>
#include <GroupsockHelper.hh>
#include <arpa/inet.h>
#include <cstdio>
#include <cstdlib>
#include <liveMedia.hh>

int main(int count, char **arguments) {
    if (count < 4) {
        fprintf(stderr, "usage: live555_server PORT FILE NAME...\n");
        return 2;
    }
    ReceivingInterfaceAddr = htonl(INADDR_LOOPBACK);
    ReceivingInterfaceAddr6 = in6addr_loopback;
    UsageEnvironment *environment = BasicUsageEnvironment::createNew(*BasicTaskScheduler::createNew());
    RTSPServer *server = RTSPServer::createNew(*environment, atoi(arguments[1]));
    if (server == NULL) {
        fprintf(stderr, "cannot listen: %s\n", environment->getResultMsg());
        return 1;
    }
    for (int at = 3; at < count; at++) {
        ServerMediaSession *session = ServerMediaSession::createNew(*environment, arguments[at], "", "a test picture");
        session->addSubsession(H264VideoFileServerMediaSubsession::createNew(*environment, arguments[2], True));
        server->addServerMediaSession(session);
    }
    puts("listening");
    fflush(stdout);
    environment->taskScheduler().doEventLoop();
}
