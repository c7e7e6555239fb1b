// SPDX-License-Identifier: Apache-2.0
#include "blockdev/result.h"

#include <cerrno>
#include <memory>
#include <set>
#include <string>

#include <gtest/gtest.h>

namespace gemel {
namespace {

TEST(Result, CarriesAValue) {
    Result<int> result = 42;
    ASSERT_TRUE(result.ok());
    EXPECT_EQ(result.value(), 42);
}

TEST(Result, CarriesAnError) {
    const Result<int> result = Error{Errc::corrupt, 0, "reading a page"};
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code, Errc::corrupt);
    EXPECT_STREQ(result.error().where, "reading a page");
}

TEST(Result, MovesAValueThatCannotBeCopied) {
    Result<std::unique_ptr<int>> result = std::make_unique<int>(7);
    ASSERT_TRUE(result.ok());
    std::unique_ptr<int> taken = std::move(result).value();
    EXPECT_EQ(*taken, 7);
}

TEST(Result, TellsAValueOfTheErrorTypesShapeFromAnError) {
    const Outcome<std::string> value = std::string("text");
    const Outcome<std::string> problem = Problem{Errc::busy, "text"};
    EXPECT_TRUE(value.ok());
    EXPECT_FALSE(problem.ok());
}

TEST(Result, VoidIsSuccessUnlessGivenAnError) {
    const Status success = Status::success();
    const Status failure = Error{Errc::io, EIO, "writing"};
    EXPECT_TRUE(success.ok());
    ASSERT_FALSE(failure.ok());
    EXPECT_EQ(failure.error().os_errno, EIO);
}

TEST(ResultDeathTest, TakingAValueThatIsNotThereStopsTheProcess) {
    Result<int> result = Error{Errc::io, 0, ""};
    EXPECT_DEATH((void)result.value(), "ok\\(\\)");
}

TEST(ResultDeathTest, AskingASuccessForItsErrorStopsTheProcess) {
    const Status success = Status::success();
    EXPECT_DEATH((void)success.error(), "ok\\(\\)");
}

TEST(Error, TextNamesPlaceAndErrno) {
    const Error error{Errc::no_space, ENOSPC, "growing the log"};
    EXPECT_EQ(error.text(), "growing the log: No space left on device");
}

TEST(Error, TextFallsBackToTheCodesName) {
    EXPECT_EQ((Error{Errc::stale, 0, "opening"}).text(), "opening: stale");
    EXPECT_EQ((Error{Errc::closed, 0, ""}).text(), "closed");
}

TEST(Error, EveryCodeHasItsOwnName) {
    std::set<std::string> names;
    for (int code = 0; code <= static_cast<int>(Errc::permission); ++code) {
        names.insert(name(static_cast<Errc>(code)));
    }
    EXPECT_EQ(names.size(), static_cast<size_t>(Errc::permission) + 1);
    EXPECT_EQ(names.count("unknown"), 0u);
}

TEST(Error, ErrnoBecomesWhatACallerCanActOn) {
    EXPECT_EQ(error_from_errno(ENOENT, "").code, Errc::not_found);
    EXPECT_EQ(error_from_errno(EEXIST, "").code, Errc::exists);
    EXPECT_EQ(error_from_errno(ENOSPC, "").code, Errc::no_space);
    EXPECT_EQ(error_from_errno(EDQUOT, "").code, Errc::no_space);
    EXPECT_EQ(error_from_errno(EBUSY, "").code, Errc::busy);
    EXPECT_EQ(error_from_errno(ECONNRESET, "").code, Errc::closed);
    EXPECT_EQ(error_from_errno(ETIMEDOUT, "").code, Errc::timed_out);
    EXPECT_EQ(error_from_errno(EOPNOTSUPP, "").code, Errc::unsupported);
    EXPECT_EQ(error_from_errno(EROFS, "").code, Errc::read_only);
    EXPECT_EQ(error_from_errno(EACCES, "").code, Errc::permission);
    EXPECT_EQ(error_from_errno(EINVAL, "").code, Errc::invalid);
}

TEST(Error, AnUnknownErrnoIsAnIoErrorThatKeepsTheNumber) {
    const Error error = error_from_errno(EREMOTEIO, "reading");
    EXPECT_EQ(error.code, Errc::io);
    EXPECT_EQ(error.os_errno, EREMOTEIO);
    EXPECT_STREQ(error.where, "reading");
}

}  // namespace
}  // namespace gemel
